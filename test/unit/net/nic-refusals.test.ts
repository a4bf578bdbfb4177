import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { FramePool } from '../../../lib/memory/frame-pool.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { Nic } from '../../../lib/net/nic.js';
import type { NicOptions } from '../../../lib/net/nic-open.js';
import {
  FakeKernel,
  type FakeKernelOptions,
  offeredFeatures,
  type Refusal,
} from '../../support/fake-kernel.js';
import { ModelWorkers } from '../../support/model-workers.js';
import { openNic } from '../../support/open-nic.js';

/** A way to open a Nic, and the kernel that it takes. */
interface Way {
  readonly name: string;
  readonly kernel?: FakeKernelOptions;
  /** Its close goes on where some of what it asks for on the way is refused. */
  readonly closesAnyway?: boolean;
  /** The options; what they need of the kernel is there when this returns. */
  options(kernel: FakeKernel): Omit<NicOptions, 'kernel'>;
}

/** Every way to open a Nic, with all that it may ask of the kernel. */
const ways: readonly Way[] = [
  {
    name: 'tap',
    options: () => ({
      tap: {
        name: 'tap0',
        mtu: 9000,
        mac: '02:00:00:00:00:aa',
        offloads: true,
        persist: false,
        owner: 1000,
        group: 1000,
        sendBuffer: 0x10_0000,
      },
      busyPoll: 50,
    }),
  },
  {
    name: 'macvtap',
    options: (kernel) => {
      kernel.tun.addMacvtap('mv0');
      return { macvtap: { name: 'mv0', offloads: ['csum', 'tso4'] } };
    },
  },
  {
    name: 'packet socket',
    options: (kernel) => {
      kernel.interfaces.add('ether', 'eth7');
      return { packet: { name: 'eth7', bypassQdisc: true, offloads: true } };
    },
  },
  {
    name: 'queue pairs of a tap',
    options: () => ({
      tap: { name: 'tap0', offloads: true, mac: '02:00:00:00:00:aa' },
      queuePairs: 3,
      busyPoll: 50,
    }),
  },
  {
    name: 'queue pairs of a macvtap',
    options: (kernel) => {
      kernel.tun.addMacvtap('mv0');
      return { macvtap: { name: 'mv0', offloads: true }, queuePairs: 2 };
    },
  },
  {
    name: 'descriptor of the caller',
    options: (kernel) => ({ fd: { fd: kernel.callersDescriptor('tap'), kind: 'tap' } }),
  },
  {
    name: 'tap of a namespace, huge pages',
    options: (kernel) => {
      kernel.interfaces.addNamespace('/run/netns/blue');
      kernel.memory.hugePages = 8;
      return { tap: { name: 'tap0', netns: 'blue' }, hugePageSize: 2 ** 21 };
    },
  },
  {
    name: 'packet socket of a namespace',
    options: (kernel) => {
      kernel.interfaces.addNamespace('/run/netns/blue');
      kernel.interfaces.add('ether', 'eth7', '/run/netns/blue');
      return { packet: { name: 'eth7', netns: 'blue' } };
    },
  },
  {
    name: 'shared memory',
    options: (kernel) => {
      const memory = new GuestMemory(kernel);
      memory.addRegion({ size: 1 << 20 });
      return { tap: 'tap0', shared: { memory, pool: new FramePool(memory, 16_384, 32) } };
    },
  },
  {
    name: 'in order',
    kernel: { features: offeredFeatures | (1n << 35n) },
    options: () => ({ tap: 'tap0', inOrder: true }),
  },
  {
    name: 'a worker of a kind',
    kernel: { forkControl: true },
    options: () => ({ tap: 'tap0', worker: 'kernel thread' }),
  },
  { name: 'resumable', options: () => ({ tap: 'tap0', resumable: true }) },
  { name: 'translated', closesAnyway: true, options: () => ({ tap: 'tap0', iommu: true }) },
];

/** Opens a Nic; `refuse`, if any, has a call refused: the n-th of those that open it. */
async function openWith(
  kernel: FakeKernel,
  way: Way,
  refuse?: { readonly n: number; readonly code: string },
): Promise<Nic> {
  kernel.attachDevice(new ModelWorkers());
  const options = way.options(kernel);
  if (refuse !== undefined) kernel.failAt(kernel.refusable + refuse.n, refuse.code);
  const { shared } = options;
  const closed = (): void => shared?.memory.close();
  // Eight buffers that hold the longest segment together.
  const opening = Nic.open({ ...options, queueSize: 8, bufferSize: 16_384, kernel });
  const nic = await opening.catch((error: unknown) => {
    closed();
    throw error;
  });
  nic.once('close', closed);
  return nic;
}

describe('Nic.open with a kernel that refuses', () => {
  for (const way of ways)
    it(`leaks nothing wherever it refuses, and says where (${way.name})`, async () => {
      const good = new FakeKernel(way.kernel);
      const nic = await openWith(good, way);
      const calls = good.calls.filter(({ number }) => number > 0);
      await nic.close();
      good.assertNothingLeft();
      const prepared = new FakeKernel(way.kernel);
      way.options(prepared);
      const before = prepared.refusable;
      const count = calls.length - before;
      assert.ok(count > 25, `${count} calls open a Nic`);

      for (const code of ['EPERM', 'ENOMEM'])
        for (let n = 1; n <= count; n++) {
          const kernel = new FakeKernel(way.kernel);
          const { name: call } = calls[before + n - 1]!;
          if (call === 'tun.getDevNetns' && code === 'EPERM') {
            // Who may not ask where a tap is has it here.
            await (await openWith(kernel, way, { n, code })).close();
            kernel.assertNothingLeft();
            continue;
          }
          await assert.rejects(
            openWith(kernel, way, { n, code }),
            (told: Refusal) => {
              const injected = kernel.refusals[0]!;
              const error = told.code === 'ERR_VHOST_UNSUPPORTED' ? (told.cause as Refusal) : told;
              if (way.name === 'descriptor of the caller' && error.code === 'ERR_VHOST_OUT_OF_RANGE') {
                // What the descriptor is not, with the reason: the request that was refused.
                assert.ok(error.message.includes(injected.message), `call ${n}, ${call}: ${error}`);
                return true;
              }
              assert.equal(error.code, code, `call ${n}, ${call}: ${error}`);
              assert.equal(error.errno, -constants.errno[code as 'EPERM']);
              assert.equal(error.syscall, injected.syscall);
              assert.equal(error.request, injected.request, `call ${n}, ${call}`);
              assert.equal(error.queue, injected.queue);
              return true;
            },
            `call ${n}, ${call}`,
          );
          kernel.assertNothingLeft();
        }
    });

  it('leaves nothing open wherever the worker is refused a call, which may not keep it from opening', async () => {
    const way: Way = { name: 'the worker', options: () => ({ tap: 'tap0', vhost: 'worker' }) };
    const good = new FakeKernel();
    const nic = await openWith(good, way);
    const count = good.refusable;
    await nic.close();
    let refused = 0;
    for (const code of ['EPERM', 'ENOMEM'])
      for (let n = 1; n <= count; n++) {
        const kernel = new FakeKernel();
        await openWith(kernel, way, { n, code }).then(
          (opened) => opened.close(),
          () => refused++,
        );
        kernel.assertNothingLeft();
      }
    assert.ok(refused > count, `${refused} of ${2 * count} refused`);
  });

  it('says what failed first even where closing fails as well', async () => {
    const [way] = ways as [Way];
    const good = new FakeKernel();
    await (await openWith(good, way)).close();
    const count = good.callNames.indexOf('poller.close');
    for (let n = 1; n < count; n++) {
      const kernel = new FakeKernel();
      kernel.failAt(n, 'EPERM');
      kernel.failOn('descriptor.close', 'EIO', { remaining: 100 });
      kernel.failOn('memory.unmap', 'EIO', { remaining: 100 });
      kernel.failOn('vhost.netDetachBackend', 'EIO', { remaining: 100 });
      await openWith(kernel, way).then(
        (nic) => nic.close().catch(() => {}),
        (error: Refusal) => assert.equal(error.code, 'EPERM'),
      );
      kernel.assertNothingLeft();
    }
  });

  it('says the request and the queue of every refused step', async () => {
    const kernel = new FakeKernel();
    kernel.failOn('vhost.setVringAddr', 'EFAULT', { skip: 1 });
    await assert.rejects(openNic({}, kernel), {
      code: 'EFAULT',
      syscall: 'ioctl',
      request: 'VHOST_SET_VRING_ADDR',
      queue: 1,
    });
  });

  it('tells what mends it where that is known', async () => {
    const kernel = new FakeKernel();
    kernel.failOn('vhost.open', 'ENOENT');
    await assert.rejects(openNic({ vhost: '/dev/vhost-net' }, kernel), {
      code: 'ENOENT',
      hint: /modprobe vhost_net/,
      path: '/dev/vhost-net',
    });
    kernel.privileges.netAdmin = false;
    await assert.rejects(openNic({}, kernel), { code: 'EPERM', request: 'TUNSETIFF', hint: /CAP_NET_ADMIN/ });
    kernel.assertNothingLeft();
  });

  it('refuses a device without the features that it stands on', async () => {
    const kernel = new FakeKernel({ features: 1n << 29n });
    await assert.rejects(openNic({}, kernel), {
      code: 'ERR_VHOST_UNSUPPORTED',
      message: 'the device does not offer VIRTIO_F_VERSION_1; it offers 0x20000000',
    });
    kernel.assertNothingLeft();
  });

  it('works with a device that has no more than those', async () => {
    const { nic, kernel, worker } = await openNic({}, new FakeKernel({ features: 1n << 32n }));
    assert.equal(nic.features, 1n << 32n);
    await nic.send(new Uint8Array(60).fill(1));
    await nic.drain();
    assert.equal(worker.sent.length, 1);
    await nic.close();
    kernel.assertNothingLeft();
  });
});

describe('Nic.close with a kernel that refuses', () => {
  for (const way of ways.filter(({ closesAnyway }) => !closesAnyway))
    it(`leaks nothing wherever it refuses, and says where (${way.name})`, async () => {
      const good = new FakeKernel(way.kernel);
      const nic = await openWith(good, way);
      const before = good.refusable;
      await nic.close();
      const count = good.refusable - before;
      assert.ok(count > 8, `${count} calls close a Nic`);

      for (let n = 1; n <= count; n++) {
        const kernel = new FakeKernel(way.kernel);
        const opened = await openWith(kernel, way);
        const { name: call, args } = good.calls.find(({ number }) => number === before + n)!;
        const told: unknown[] = [];
        opened.on('error', (error) => told.push(error));
        kernel.failAt(before + n, 'EIO');
        await assert.rejects(opened.close(), (error: Refusal) => {
          assert.equal(error.code, 'EIO', `call ${n}, ${call}(${args})`);
          assert.equal(error.syscall, kernel.refusals[0]!.syscall);
          assert.equal(error.request, kernel.refusals[0]!.request);
          return true;
        });
        kernel.assertNothingLeft();
        assert.equal(opened.closed, true);
        await assert.rejects(opened.close(), { code: 'EIO' }, 'and again the same');
        assert.equal(opened.tx.ledger.inFlight, 0);
        assert.equal(opened.rx.ledger.inFlight, 0);
        assert.equal(opened.pool.free, opened.pool.count);
      }
    });
});
