import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { FramePool, GuestMemory, HEADER_SIZE, hostKernel, KernelVhost, Nic } from '../../../lib/index.js';
import { ControlDevice } from '../../support/control-device.js';
import { Cable } from '../../support/device-cable.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { onKernel, openVhost, testDevice } from '../../support/test-device.js';
import { until } from '../../support/until.js';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const HUGE_PAGE = 2 * MiB;
const HUGE_PAGES = '/proc/sys/vm/nr_hugepages';
const TX = 1;

const toB = new NumberedFrames(60, 'a', 'b');
const toA = new NumberedFrames(60, 'b', 'a');

describe('memory of a device', function () {
  this.timeout(300_000);
  let memory: GuestMemory;
  let namespace: Namespace;

  beforeEach(() => {
    memory = new GuestMemory(hostKernel());
    namespace = Namespace.add();
  });
  afterEach(async () => {
    await namespace.remove();
    memory.close();
  });

  it('is several regions, at guest addresses of their own, beyond 4 GiB too', async () => {
    memory.addRegion({ size: 64 * 1024, guestPhysicalAddress: 0 });
    const high = memory.addRegion({ size: 2 * MiB, guestPhysicalAddress: 5 * GiB });
    memory.addRegion({ size: 64 * 1024, guestPhysicalAddress: GiB });
    const pool = new FramePool(memory, 2048, 512, high);
    assert.notEqual(BigInt(high.guestPhysicalAddress), high.userAddress);
    const cable = await Cable.lay({ shared: { memory, pool }, queueSize: 64 }, {}, namespace);
    await run(new Flow(cable.a, cable.b, toB, 5000), new Flow(cable.b, cable.a, toA, 5000));
    assert.equal(pool.addressHigh, 1);
  });

  it('is of huge pages where some are free, and refused with what to do where none are', async () => {
    const before = readFileSync(HUGE_PAGES, 'utf8');
    const free = (): number =>
      Number(/HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))![1]);
    const options = { hugePageSize: HUGE_PAGE, queueSize: 64 };
    try {
      writeFileSync(HUGE_PAGES, '0');
      await assert.rejects(namespace.nic('tap-h', options), {
        code: 'ENOMEM',
        hint: /^\d+ huge pages must be free: echo .* > \/sys\/kernel\/mm\/hugepages\/hugepages-2048kB\/nr_hugepages$/,
      });
      await assert.rejects(namespace.nic('tap-h', { ...options, hugePageSize: 2 ** 24 }), {
        hint: /^this machine may have no huge pages of 16777216 bytes/,
      });
      writeFileSync(HUGE_PAGES, '8');
      const reserved = free();
      const { a, b } = await Cable.lay({ ...options, resumable: true }, options, namespace);
      const inHugePages = ({ memory: { regions } }: Nic): void => {
        assert.equal(regions[0]!.size % HUGE_PAGE, 0);
        assert.equal(regions[0]!.userAddress % BigInt(HUGE_PAGE), 0n);
        assert.ok(free() < reserved, 'the frames lie in huge pages');
      };
      inHugePages(a);
      await run(new Flow(a, b, toB, 5000), new Flow(b, a, toA, 5000));
      const inUse = free();
      const heir = await Nic.resume(await a.handOver(), testDevice);
      try {
        inHugePages(heir);
        assert.equal(free(), inUse, 'they are the same ones');
        await run(new Flow(heir, b, toB, 5000), new Flow(b, heir, toA, 5000));
      } finally {
        await heir.close();
      }
      await b.close();
      assert.equal(free(), reserved);
    } finally {
      writeFileSync(HUGE_PAGES, before);
    }
  });

  it('comes and goes under traffic, and is refused to go while it is in use', async () => {
    const cable = await Cable.lay({ queueSize: 64 }, undefined, namespace);
    const { a, b } = cable;
    let done = false;
    let rounds = 0;
    const traffic = (async () => {
      while (!done) {
        await run(new Flow(a, b, toB, 500), new Flow(b, a, toA, 500));
        rounds++;
      }
    })();
    const onward = async (): Promise<void> => {
      const now = rounds;
      await until('frames flow on', () => rounds > now);
    };
    try {
      const d = await namespace.nic('tap-d', { queueSize: 64 });
      for (let time = 0; time < 3; time++) {
        const region = await a.memory.hotAdd({ size: MiB, guestPhysicalAddress: 3 * GiB });
        await onward();
        const pool = new FramePool(a.memory, 2048, 256, region);
        const shared = { memory: a.memory, pool };
        const c = await namespace.nic('tap-c', { shared, queueSize: 64 });
        if (time === 0) namespace.bridge('second', 'tap-c', 'tap-d');
        else namespace.ip('link', 'set', 'tap-c', 'master', 'second');
        await run(new Flow(c, d, new NumberedFrames(60, 'c', 'd'), 2000));
        await assert.rejects(a.memory.hotRemove(region), {
          code: 'ERR_VHOST_IN_USE',
          message: /^the region at 0xc0000000 is in use by a pool of 256 buffers, .* posted to a device$/,
        });
        await assert.rejects(a.memory.hotRemove(a.pool.region), { code: 'ERR_VHOST_IN_USE' });
        await onward();
        await c.close();
        pool.close();
        await a.memory.hotRemove(region);
        assert.equal(region.bytes.length, 0);
        await onward();
      }
      assert.equal(a.memory.regions.length, 1);
    } finally {
      done = true;
      await traffic;
    }
    assert.deepEqual([accounted(a), accounted(b)], [true, true]);
    assert.equal(namespace.dropped('tap-a') + namespace.dropped('tap-b'), 0);
  });

  onKernel(() => {
    it('has no more regions than the kernel allows, and the device goes on as it was', async () => {
      const { maxMemRegions } = KernelVhost.capabilities();
      const cable = await Cable.lay({ queueSize: 64 }, undefined, namespace);
      const { a, b } = cable;
      for (let count = 1; count < maxMemRegions; count++) await a.memory.hotAdd({ size: 4096 });
      await assert.rejects(a.memory.hotAdd({ size: 4096 }), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: new RegExp(`^memory must be made of at most the ${maxMemRegions} regions of /sys/module/`),
      });
      assert.equal(a.memory.regions.length, maxMemRegions);
      await run(new Flow(a, b, toB, 1000));
      for (const region of a.memory.regions.slice(1)) await a.memory.hotRemove(region);
      await run(new Flow(a, b, toB, 1000));
    });
  });
});

describe('memory that went', function () {
  this.timeout(300_000);

  it('is out of the device’s reach, and one with a ring does not go', async () => {
    const namespace = Namespace.add();
    const device = new ControlDevice(openVhost());
    try {
      const { vhost, memory } = device;
      const [kick, error] = [device.eventfd(), device.eventfd()];
      device.setUp();
      vhost.setVringKick(TX, kick);
      vhost.setVringErr(TX, error);
      await vhost.setBackend(TX, device.tap(namespace, 'm%d').fd);
      const region = await memory.hotAdd({ size: 4096 });
      const send = (): void => {
        device.publish(0, region.guestPhysicalAddress);
        device.signal(kick);
      };
      send();
      await until('the frame is used', () => device.used === 1);
      await assert.rejects(memory.hotRemove(device.region), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: /^memory must be a table that holds the ring of queue 1, which runs/,
      });
      send();
      await until('the next is used', () => device.used === 2);
      await memory.hotRemove(region);
      send();
      assert.ok((await device.signalled(error)) > 0);
      assert.equal(device.used, 2);
    } finally {
      await device.close();
      await namespace.remove();
    }
  });
});

function accounted(nic: Nic): boolean {
  const { transmit, receive } = nic.stats();
  assert.deepEqual([transmit.errors, receive.errors, transmit.abandoned, receive.abandoned], [{}, {}, 0, 0]);
  return transmit.bytesCompleted === transmit.completed * (HEADER_SIZE + 60);
}
