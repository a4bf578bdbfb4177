import assert from 'node:assert/strict';
import type { VhostError } from '../../../lib/errors/errors.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { Iommu } from '../../../lib/vhost/iommu.js';
import { Iotlb, type Translation, type Translator } from '../../../lib/vhost/iotlb.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import type { FakeIotlb } from '../../support/fake-iotlb.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import type { FakeQueue } from '../../support/fake-queue.js';
import { settled, turn } from '../../support/open-nic.js';

const ACCESS_PLATFORM = 1n << 33n;
const PAGE = 4096n;
const READ = 1;
const WRITE = 2;

describe('Iotlb', () => {
  let kernel: FakeKernel;
  let memory: GuestMemory;
  let vhost: KernelVhost;
  let queue: FakeQueue;
  let device: FakeIotlb;
  let iotlb: Iotlb | undefined;
  let faults: VhostError[];
  let kicks: number;

  beforeEach(() => {
    kernel = new FakeKernel();
    memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 16 });
    vhost = KernelVhost.open({ kernel });
    vhost.setOwner();
    vhost.setFeatures(ACCESS_PLATFORM);
    vhost.setMemTable(memory);
    queue = kernel.queue(vhost.fd, 1);
    device = queue.device.iotlb!;
    faults = [];
    kicks = 0;
    kernel.attachDevice(() => kicks++);
  });
  afterEach(() => {
    iotlb?.close();
    vhost.close();
    memory.close();
    kernel.assertNothingLeft();
  });

  async function serve(translator: Translator): Promise<void> {
    iotlb = await Iotlb.open(vhost, translator, (error) => faults.push(error));
  }

  /** Runs the queue on a tap; its ring is one page at address 0. */
  function start(): void {
    const { userAddress } = memory.regions[0]!;
    vhost.writeIotlb({ type: 'update', iova: 0n, size: PAGE, userAddress, access: 'rw' });
    vhost.setVringNum(1, 8);
    vhost.setVringAddr(1, { flags: 0, descriptorTable: 0n, availableRing: 128n, usedRing: 256n, log: 0n });
    vhost.setBackend(1, kernel.callersDescriptor('tap'));
  }

  /** A page of the first region, as a translator tells it. */
  function page(iova: bigint, access: Translation['access'] = 'rw'): Translation {
    return { iova, size: PAGE, userAddress: memory.regions[0]!.userAddress, access };
  }

  it('answers a miss, and the queue goes on', async () => {
    await serve({ translate: (iova) => page(iova & ~(PAGE - 1n), 'ro') });
    start();
    await kernel.idle();
    const before = kicks;
    assert.equal(queue.guest(0x5010n, 60), undefined);
    await kernel.idle();
    await turn();
    await kernel.idle();
    assert.ok(queue.guest(0x5010n, 60));
    assert.equal(kicks, before + 1);
    assert.deepEqual([iotlb!.misses, iotlb!.updates, iotlb!.faults], [1, 1, 0]);
    assert.deepEqual(device.entries.at(-1), {
      iova: 0x5000n,
      size: PAGE,
      userAddress: memory.regions[0]!.userAddress,
      permission: READ,
    });
  });

  it('agrees on messages of the second version where they are offered', async () => {
    await serve({ translate: () => undefined });
    assert.equal(queue.device.backendFeatures, 2n);
  });

  it('tells of an address without a translation, once, and leaves the queue waiting', async () => {
    await serve({ translate: () => undefined });
    queue.guest(0x5010n, 60, WRITE);
    await kernel.idle();
    await turn();
    assert.equal(faults.length, 1);
    assert.equal(faults[0]!.code, 'ERR_VHOST_IOTLB_FAULT');
    assert.equal(faults[0]!.message, 'the device wants to write at 0x5010, which is not mapped');
    assert.deepEqual(device.entries, []);
    assert.equal(iotlb!.faults, 1);
  });

  it('tells of an access that is not allowed', async () => {
    await serve({ translate: (iova) => page(iova, 'ro') });
    queue.guest(0x5000n, 60, WRITE);
    await kernel.idle();
    await turn();
    assert.match(String(faults[0]), /wants to write at 0x5000, which is mapped with access 'ro'$/);
    assert.deepEqual(device.entries, []);
  });

  it('tells of a translator that fails, of one that answers beside the point, and of a refused update', async () => {
    const answers: (() => Translation)[] = [
      () => {
        throw new Error('no table');
      },
      () => page(0x9000n),
      () => ({ ...page(0x5000n), userAddress: 1n << 62n }),
    ];
    await serve({ translate: async () => answers.shift()!() });
    for (let i = 0; i < 3; i++) {
      queue.guest(0x5000n, 60);
      await kernel.idle();
      await turn();
    }
    assert.deepEqual(
      faults.map(({ code, cause }) => [code, String(cause).split('\n')[0]!.slice(0, 36)]),
      [
        ['ERR_VHOST_IOTLB_FAULT', 'Error: no table'],
        ['ERR_VHOST_IOTLB_FAULT', 'RangeError [ERR_VHOST_OUT_OF_RANGE]:'],
        ['ERR_VHOST_IOTLB_FAULT', String(faults[2]!.cause).slice(0, 36)],
      ],
    );
    assert.equal((faults[2]!.cause as NodeJS.ErrnoException).code, 'EFAULT');
  });

  it('asks again where a range was taken back while it was looked up', async () => {
    const asked: ((translation: Translation) => void)[] = [];
    await serve({ translate: () => new Promise((resolve) => asked.push(resolve)) });
    queue.guest(0x5000n, 60);
    await kernel.idle();
    await iotlb!.invalidate(0x5800n, 1n);
    asked[0]!(page(0x5000n));
    await turn();
    assert.deepEqual([asked.length, device.entries], [2, []]);
    await iotlb!.invalidate(0x6000n, PAGE);
    asked[1]!(page(0x5000n));
    await turn();
    assert.deepEqual([asked.length, device.entries.length], [2, 1]);
  });

  it('reads and writes nothing while the device is held, and everything afterwards', async () => {
    await serve(new Iommu(memory));
    const base = BigInt(memory.regions[0]!.guestPhysicalAddress);
    await iotlb!.map(base, 2n * PAGE, 'rw');
    let release = (): void => {};
    const holding = iotlb!.hold(() => new Promise<void>((resolve) => (release = resolve)));
    const invalidated = iotlb!.invalidate(base, 1n);
    queue.guest(base + 5n * PAGE, 60);
    await kernel.idle();
    assert.equal(await settled(invalidated), false);
    assert.deepEqual([device.entries.length, iotlb!.misses], [2, 0]);
    release();
    await holding;
    await invalidated;
    await kernel.idle();
    await turn();
    assert.equal(iotlb!.misses, 1);
    assert.deepEqual(
      device.entries.map(({ iova }) => (iova - base) / PAGE),
      [1n, 5n],
    );
  });

  it('answers a miss that comes again and again once', async () => {
    const asked: ((translation: Translation) => void)[] = [];
    await serve({ translate: () => new Promise((resolve) => asked.push(resolve)) });
    start();
    for (let i = 0; i < 5; i++) queue.guest(0x5000n, 60);
    await kernel.idle();
    const before = kicks;
    asked[0]!(page(0x5000n));
    await turn();
    await kernel.idle();
    assert.deepEqual([iotlb!.misses, asked.length, iotlb!.updates], [5, 1, 1]);
    assert.ok(kicks > before);
    await iotlb!.invalidate(0x5000n, 1n);
    queue.guest(0x5000n, 60);
    await kernel.idle();
    assert.equal(asked.length, 2, 'and anew when it is missed anew');
    asked[1]!(page(0x5000n));
    await turn();
  });

  it('tells of an access that the device finds forbidden, and of a read that is refused', async () => {
    await serve(new Iommu(memory));
    const forbidden = new Uint8Array(72);
    const VHOST_IOTLB_ACCESS_FAIL = 4;
    forbidden.set([2], 0);
    forbidden.set([WRITE, VHOST_IOTLB_ACCESS_FAIL], 32);
    device.forged.push(forbidden);
    queue.device.wake();
    await kernel.idle();
    assert.match(faults[0]!.message, /^the device wants to write at 0x0, which it finds forbidden$/);
    assert.equal(iotlb!.faults, 1);
    kernel.failOn('descriptor.read', 'EIO');
    queue.guest(0n, 1);
    await kernel.idle();
    assert.deepEqual(
      [faults[1]!.code, faults[1]!.request, kernel.openPollers().length],
      ['EIO', 'VHOST_IOTLB_MISS', 0],
    );
  });

  it('stops listening at a message that no kernel sends, and says so', async () => {
    await serve(new Iommu(memory));
    device.forged.push(new Uint8Array(40));
    queue.device.wake();
    await kernel.idle();
    assert.equal(faults[0]!.code, 'ERR_VHOST_BAD_MESSAGE');
    assert.match(faults[0]!.message, /of 40 bytes, where an IOTLB message has 72/);
    assert.deepEqual(kernel.openPollers(), []);
  });

  it('holds the loop only as long as it is asked to', async () => {
    await serve(new Iommu(memory));
    const referenced = (): boolean[] => kernel.openPollers().map((poller) => poller.referenced);
    iotlb!.unref();
    assert.deepEqual(referenced(), [false]);
    await iotlb!.hold(async () => {});
    assert.deepEqual(referenced(), [false]);
    iotlb!.ref();
    assert.deepEqual(referenced(), [true]);
  });

  it('needs a translator, and a device that has messages', async () => {
    await assert.rejects(serve({} as Translator), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
    const without = Object.create(vhost, { watchIotlb: { value: undefined } }) as KernelVhost;
    await assert.rejects(
      Iotlb.open(without, new Iommu(memory), () => {}),
      { code: 'ERR_VHOST_UNSUPPORTED' },
    );
  });
});

describe('KernelVhost: the IOTLB', () => {
  it('refuses batches, which no net device has, and names the message that was refused', () => {
    const kernel = new FakeKernel();
    const vhost = KernelVhost.open({ kernel });
    assert.equal(vhost.readIotlb(), undefined);
    assert.throws(() => vhost.writeIotlb({ type: 'batch-end' }), {
      code: 'ERR_VHOST_UNSUPPORTED',
      request: 'VHOST_IOTLB_BATCH_END',
    });
    assert.throws(() => vhost.writeIotlb({ type: 'invalidate', iova: 0n, size: 1n }), {
      code: 'EFAULT',
      request: 'VHOST_IOTLB_INVALIDATE',
      hint: /ACCESS_PLATFORM is not agreed/,
    });
    vhost.close();
    kernel.assertNothingLeft();
  });
});
