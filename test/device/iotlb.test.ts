import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../lib/errors/refusal.js';
import {
  type GuestMemory,
  HEADER_SIZE,
  hostKernel,
  type Iommu,
  type IotlbMiss,
  type IotlbRequest,
  KernelVhost,
  type Nic,
  type Translation,
  type Translator,
} from '../../lib/index.js';
import { ControlDevice, refusalOf } from '../support/control-device.js';
import { type Arrival, arrivals } from '../support/device-arrivals.js';
import { Cable } from '../support/device-cable.js';
import { Flow, run } from '../support/device-flow.js';
import { Namespace } from '../support/device-namespace.js';
import { NumberedFrames } from '../support/numbered-frames.js';
import { Random } from '../support/random.js';
import { until, within } from '../support/until.js';

const TX = 1;
const VERSION_1 = 1n << 32n;
const ACCESS_PLATFORM = 1n << 33n;
const MSG_V2 = 1n << 1n;
const BATCH = 1n << 2n;
const ASID = 1n << 3n;
const PAGE = 4096;
/** Of each end. */
const FRAMES = 500_000;
/** So many frames lie between two invalidations on average. */
const APART = 512;

describe('IOTLB: messages to and from the real device', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  let device: ControlDevice<KernelVhost>;

  before(() => {
    namespace = Namespace.add();
  });
  after(() => namespace.remove());
  beforeEach(() => {
    device = new ControlDevice(KernelVhost.open());
  });
  afterEach(() => device.close());

  /** The whole memory, each address of it standing for itself. */
  function everything(changes: Partial<Extract<IotlbRequest, { type: 'update' }>> = {}): IotlbRequest {
    const [{ size, userAddress } = { size: 0n, userAddress: 0n }] = device.memory.table();
    return { type: 'update', iova: userAddress, size, userAddress, access: 'rw', ...changes };
  }

  /** All that comes before a backend; the ring's addresses are I/O virtual addresses. */
  function setUp(backendFeatures = 0n): void {
    device.vhost.setOwner();
    device.vhost.setBackendFeatures(backendFeatures);
    device.vhost.setFeatures(VERSION_1 | ACCESS_PLATFORM);
    device.vhost.setMemTable(device.memory);
    device.place();
  }

  /** Resolves with the first miss of an address; another kick brings the same again. */
  async function missed(iova: bigint): Promise<IotlbMiss> {
    return within(
      `the device misses 0x${iova.toString(16)}`,
      new Promise((resolve, reject) => {
        const watch = device.vhost.watchIotlb({
          missed: (miss) => {
            if (miss.iova !== iova) return;
            watch.close();
            resolve(miss);
          },
          failed: reject,
        });
      }),
    );
  }

  it('are none before VIRTIO_F_ACCESS_PLATFORM is agreed, and refused', () => {
    const { vhost } = device;
    assert.equal(vhost.readIotlb(), undefined);
    assert.equal(
      refusalOf(() => vhost.writeIotlb(everything())),
      'EFAULT VHOST_IOTLB_UPDATE',
    );
    const invalidate = { type: 'invalidate', iova: 0n, size: 1n } as const;
    assert.equal(
      refusalOf(() => vhost.writeIotlb(invalidate)),
      'EFAULT VHOST_IOTLB_INVALIDATE',
    );
    // Whoever waits for a message is told that none can come; this device's descriptor never waits.
    const waiting = openSync('/dev/vhost-net', 'r+');
    try {
      assert.throws(() => readSync(waiting, new Uint8Array(72)), {
        errno: -errnoOf('EBADFD'),
        syscall: 'read',
      });
      assert.equal(
        refusalOf(() => hostKernel().descriptor.read(vhost.fd, new Uint8Array(72))),
        'EAGAIN',
      );
    } finally {
      closeSync(waiting);
    }
    setUp();
    vhost.writeIotlb(everything());
    vhost.writeIotlb(invalidate);
    assert.equal(vhost.readIotlb(), undefined);
  });

  it('come as struct vhost_msg or struct vhost_msg_v2, whichever was agreed, and are taken as both', async () => {
    for (const agreed of [0n, MSG_V2]) {
      setUp(agreed);
      const { vhost } = device;
      vhost.writeIotlb(everything({ access: 'rw', size: BigInt(16 * PAGE) }));
      vhost.setVringKick(TX, device.eventfd());
      vhost.setBackend(TX, device.tap(namespace, 'v%d').fd);
      vhost.writeIotlb({ type: 'invalidate', iova: device.page(TX), size: 1n });
      const kick = device.eventfd();
      vhost.setVringKick(TX, kick);
      device.signal(kick);
      await until('a message is there', () => {
        const message = new Uint8Array(72);
        try {
          assert.equal(hostKernel().descriptor.read(vhost.fd, message.subarray(0, 71)), 0);
          assert.equal(hostKernel().descriptor.read(vhost.fd, message), 72);
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
          return false;
        }
        assert.equal(new DataView(message.buffer).getUint32(0, true), agreed === 0n ? 1 : 2);
        return true;
      });
      vhost.resetOwner();
    }
  });

  it('of a wrong length, a wrong type and out of reach are refused, and batches are unknown to a net device', () => {
    const { vhost } = device;
    assert.equal(
      refusalOf(() => vhost.setBackendFeatures(BATCH)),
      'EOPNOTSUPP VHOST_SET_BACKEND_FEATURES',
    );
    assert.equal(
      refusalOf(() => vhost.setBackendFeatures(ASID)),
      'EOPNOTSUPP VHOST_SET_BACKEND_FEATURES',
    );
    setUp(MSG_V2);
    const write = (bytes: Uint8Array): string =>
      refusalOf(() => hostKernel().descriptor.write(vhost.fd, bytes));
    const message = (layout: number, type: number, size = BigInt(PAGE)): Uint8Array => {
      const view = new DataView(new ArrayBuffer(72));
      view.setUint32(0, layout, true);
      view.setBigUint64(8, device.page(0), true);
      view.setBigUint64(16, size, true);
      view.setBigUint64(24, device.page(0), true);
      view.setUint8(32, 3);
      view.setUint8(33, type);
      return new Uint8Array(view.buffer);
    };
    const [UPDATE, BATCH_BEGIN] = [2, 5];
    for (const layout of [1, 2]) {
      assert.equal(write(message(layout, UPDATE)), 'accepted');
      assert.equal(write(message(layout, UPDATE).subarray(0, 40)), 'accepted');
      assert.equal(write(message(layout, UPDATE).subarray(0, 39)), 'EINVAL');
      assert.equal(write(message(layout, UPDATE, 0n)), 'EINVAL');
      assert.equal(write(message(layout, BATCH_BEGIN)), 'EFAULT');
    }
    assert.equal(write(new Uint8Array(3)), 'EINVAL');
    assert.equal(write(message(3, UPDATE)), 'EINVAL');
    const outOfReach = everything({ userAddress: 1n << 63n });
    assert.equal(
      refusalOf(() => vhost.writeIotlb(outOfReach)),
      'EFAULT VHOST_IOTLB_UPDATE',
    );
    assert.equal(
      refusalOf(() => vhost.writeIotlb({ type: 'batch-begin' })),
      'ERR_VHOST_UNSUPPORTED VHOST_IOTLB_BATCH_BEGIN',
    );
  });

  it('come before a queue can start whose used ring is not mapped to read and write', async () => {
    setUp(MSG_V2);
    const { vhost } = device;
    const tap = device.tap(namespace, 'm%d');
    const error = device.eventfd();
    vhost.setVringErr(TX, error);
    assert.equal(
      refusalOf(() => vhost.setBackend(TX, tap.fd)),
      'EFAULT VHOST_NET_SET_BACKEND',
    );
    assert.equal(await device.signalled(error), 1);
    const usedRing = device.ring(TX).usedRing;
    assert.deepEqual(await missed(usedRing), { type: 'miss', iova: usedRing, access: 'ro' });
    vhost.writeIotlb(everything({ access: 'wo' }));
    assert.equal(
      refusalOf(() => vhost.setBackend(TX, tap.fd)),
      'EFAULT VHOST_NET_SET_BACKEND',
    );
    assert.equal(vhost.readIotlb(), undefined, 'what is mapped otherwise is no miss');
    vhost.writeIotlb({ type: 'invalidate', iova: usedRing, size: 1n });
    vhost.writeIotlb(everything());
    vhost.setBackend(TX, tap.fd);
  });

  it('let a queue wait for an address, and go on when an update covers it', async () => {
    setUp(MSG_V2);
    const { vhost } = device;
    const kick = device.eventfd();
    vhost.setVringKick(TX, kick);
    // The ring, and not the page of the frame.
    vhost.writeIotlb(everything({ size: BigInt(4 * PAGE) }));
    vhost.setBackend(TX, device.tap(namespace, 'w%d').fd);
    device.publish(0);
    device.signal(kick);
    const iova = BigInt(device.region.guestPhysicalAddress + 32 * PAGE);
    assert.deepEqual(await missed(iova), { type: 'miss', iova, access: 'ro' });
    assert.equal(device.used, 0);
    // Half of the frame: the other half is missed in its turn.
    const frame = { type: 'update', access: 'ro' } as const;
    vhost.writeIotlb({ ...frame, iova, size: 30n, userAddress: device.page(32) });
    assert.equal((await missed(iova + 30n)).access, 'ro');
    vhost.writeIotlb({ ...frame, iova: iova + 30n, size: 100n, userAddress: device.page(32) + 30n });
    await until('the frame is used', () => device.used === 1);
  });

  it('are not sent where the mapping forbids the access: the queue reports an error', async () => {
    setUp(MSG_V2);
    const { vhost } = device;
    const kick = device.eventfd();
    const error = device.eventfd();
    vhost.setVringKick(TX, kick);
    vhost.setVringErr(TX, error);
    vhost.writeIotlb(everything({ size: BigInt(4 * PAGE) }));
    const iova = BigInt(device.region.guestPhysicalAddress + 32 * PAGE);
    const page = { type: 'update', iova, size: BigInt(PAGE), userAddress: device.page(32) } as const;
    vhost.writeIotlb({ ...page, access: 'wo' });
    vhost.setBackend(TX, device.tap(namespace, 'p%d').fd);
    device.publish(0);
    device.signal(kick);
    await device.signalled(error);
    assert.equal(vhost.readIotlb(), undefined);
    assert.equal(vhost.getVringBase(TX), 0, 'the frame is not taken');
    vhost.writeIotlb({ type: 'invalidate', iova, size: 1n });
    vhost.writeIotlb({ ...page, access: 'ro' });
    device.signal(kick);
    await until('the frame is used', () => device.used === 1);
  });
});

describe('IOTLB: a Nic whose addresses are translated', function () {
  this.timeout(1_200_000);
  let cable: Cable;
  const toB = new NumberedFrames(60, 'a', 'b');
  const toA = new NumberedFrames(60, 'b', 'a');

  beforeEach(async () => {
    cable = await Cable.lay({ iommu: true });
  });
  afterEach(() => cable.remove());

  const iommuOf = (nic: Nic): Iommu => nic.iotlb!.translator as Iommu;
  /** The first page of the pool. */
  const firstPage = ({ pool }: Nic): number =>
    Math.ceil((pool.region.guestPhysicalAddress + pool.base) / PAGE) * PAGE;

  it(`carries ${2 * FRAMES} frames, half of them each way, whatever is invalidated meanwhile`, async () => {
    const { a, b, namespace } = cable;
    await run(
      new Unsettled(a, b, toB, FRAMES, new Random('a')),
      new Unsettled(b, a, toA, FRAMES, new Random('b')),
    );
    for (const nic of [a, b]) {
      const { transmit, receive } = nic.stats();
      assert.deepEqual([transmit.submitted, transmit.completed, transmit.abandoned], [FRAMES, FRAMES, 0]);
      assert.deepEqual([receive.frames, receive.abandoned], [FRAMES, 0]);
      assert.deepEqual([transmit.errors, receive.errors], [{}, {}]);
      const { misses, updates, invalidations, faults } = nic.iotlb!;
      assert.equal(faults, 0);
      assert.ok(invalidations > FRAMES / APART / 2, `${invalidations} ranges were taken back`);
      assert.ok(misses > invalidations / 2, `of ${invalidations} taken back, ${misses} were missed`);
      // A miss that the device repeats with each kick is answered once.
      assert.ok(updates > invalidations / 2, `${updates} updates answered ${misses} misses`);
    }
    assert.equal(namespace.dropped('tap-a') + namespace.dropped('tap-b'), 0);
  });

  it('stops with the address where nothing is mapped, and goes on when there is', async () => {
    const { a, b } = cable;
    const { pool } = a;
    const { guestPhysicalAddress, size } = pool.region;
    const errored = once(a, 'error');
    await iommuOf(a).unmap(firstPage(a), guestPhysicalAddress + size - firstPage(a));
    const submission = a.submit(Array.from({ length: 64 }, (_, i) => toB.frame(i)));
    const [error] = await within('the fault is told', errored);
    assert.equal(error.code, 'ERR_VHOST_IOTLB_FAULT');
    assert.match(error.message, /^the device wants to (read|write) at 0x\w+, which is not mapped$/);
    const { completed, abandoned } = await within('the frames are settled', submission.completed);
    assert.equal(completed + abandoned, 64);
    assert.ok(abandoned > 0);
    await iommuOf(a).map(firstPage(a), {
      guestPhysicalAddress: firstPage(a),
      size: guestPhysicalAddress + size - firstPage(a),
    });
    await a.attach();
    const before = b.rx.frameCount;
    await run(new Flow(a, b, toB, 500));
    assert.ok(b.rx.frameCount >= before + 500);
  });

  it('stops where a receive buffer may only be read', async () => {
    const { a, b } = cable;
    const errored = once(b, 'error');
    // All but the rings: of a used ring that cannot be written the kernel says nothing at all.
    const size = b.pool.count * b.pool.bufferSize;
    await iommuOf(b).map(firstPage(b), { guestPhysicalAddress: firstPage(b), size, access: 'ro' });
    await a.send(toB.frame(0));
    const [error] = await within('the fault is told', errored);
    assert.match(error.message, /^the device wants to write at 0x\w+, which is mapped with access 'ro'$/);
  });

  it('sends what lies where the address leads, also when that changes', async () => {
    const { a, b } = cable;
    const { pool } = a;
    const page = (buffer: number): number => Math.floor(pool.offset(buffer) / PAGE) * PAGE;
    const address = (buffer: number): number => pool.region.guestPhysicalAddress + page(buffer);
    const posted = pool.lease();
    let other = pool.lease();
    while (page(other) === page(posted) || (pool.offset(other) - pool.offset(posted)) % PAGE !== 0)
      other = pool.lease();
    for (const [number, buffer] of [posted, other].entries()) {
      toB.write(number, pool.bytes, pool.offset(buffer) + HEADER_SIZE);
      pool.length[buffer] = HEADER_SIZE + 60;
    }
    const sent: number[] = [];
    for (const target of [posted, other, posted]) {
      await iommuOf(a).map(address(posted), { guestPhysicalAddress: address(target), size: PAGE });
      a.tx.post(posted);
      a.tx.flush();
      const [{ frame }] = (await arrivals(b, (soFar) => soFar.length > 0)) as [Arrival];
      sent.push(toB.number(frame));
      toB.check(sent.at(-1)!, frame);
      await until('the frame is done', () => a.tx.reap() === 1);
      // The same buffer again: what is released last is leased first.
      assert.equal(pool.lease(), posted);
    }
    assert.deepEqual(sent, [0, 1, 0]);
  });

  it('asks whatever translates, which may take its time and fail', async () => {
    const { namespace, a, b } = cable;
    await a.close();
    const pages = new SlowPages();
    const near = await namespace.nic('tap-a', {
      queueSize: 64,
      iommu: (memory) => {
        pages.memory = memory;
        return pages;
      },
    });
    namespace.ip('link', 'set', 'tap-a', 'master', 'cable');
    await until('the cable is whole', () => namespace.forwards('cable'));
    await run(new Flow(near, b, toB, 2000), new Flow(b, near, toA, 2000));
    assert.ok(pages.asked > 10, `${pages.asked} pages were looked up`);
    assert.equal(near.iotlb!.faults, 0);

    const errored = once(near, 'error');
    pages.lost = new Error('the table is lost');
    const { guestPhysicalAddress, size } = near.pool.region;
    await near.iotlb!.invalidate(BigInt(guestPhysicalAddress), BigInt(size));
    const submission = near.submit([toB.frame(0)]);
    const [error] = await within('the fault is told', errored);
    assert.equal(error.code, 'ERR_VHOST_IOTLB_FAULT');
    assert.equal(error.cause, pages.lost);
    const { completed, abandoned } = await within('the frame is settled', submission.completed);
    assert.equal(completed + abandoned, 1);
    pages.lost = undefined;
    await near.attach();
    await run(new Flow(near, b, toB, 500));
  });

  it('swaps backends, keeps a dirty log, and closes with frames in flight', async () => {
    const { a, b, namespace } = cable;
    const log = await b.startDirtyLog();
    await run(new Flow(a, b, toB, 2000));
    assert.ok(log.take().length > 0, 'the device marks what it writes');
    await b.stopDirtyLog();
    await a.swapBackend({ tap: { name: 'tap-c', netns: namespace.name } });
    namespace.ip('link', 'set', 'tap-c', 'master', 'cable');
    await run(new Flow(a, b, toB, 2000));
    await a.swapBackend({ packet: { name: 'tap-b', netns: namespace.name } });
    a.submit(Array.from({ length: 64 }, (_, i) => toB.frame(i)));
    await a.close();
    assert.equal(a.tx.ledger.inFlight, 0);
  });
});

/** A table that is far away: a page at a time, found out a while later. */
class SlowPages implements Translator {
  memory: GuestMemory | undefined;
  /** Pages that were asked for. */
  asked = 0;
  /** Why nothing can be looked up any more. */
  lost: Error | undefined;

  async translate(iova: bigint): Promise<Translation | undefined> {
    this.asked++;
    await sleep(1);
    if (this.lost !== undefined) throw this.lost;
    const page = iova - (iova % BigInt(PAGE));
    const region = this.memory!.regions.find(
      ({ guestPhysicalAddress, size }) =>
        page >= BigInt(guestPhysicalAddress) && page < BigInt(guestPhysicalAddress + size),
    );
    if (region === undefined) return undefined;
    const userAddress = region.userAddress + page - BigInt(region.guestPhysicalAddress);
    return { iova: page, size: BigInt(PAGE), userAddress, access: 'rw' };
  }
}

/** Frames while pages of the sender's memory, and now and then all of it, are taken from its device. */
class Unsettled extends Flow {
  readonly #nic: Nic;
  readonly #random: Random;
  #next = 0;

  constructor(from: Nic, to: Nic, frames: NumberedFrames, total: number, random: Random) {
    super(from, to, frames, total);
    this.#nic = from;
    this.#random = random;
  }

  override step(): number {
    if (this.posted >= this.#next) {
      this.#next = this.posted + 1 + this.#random.below(2 * APART);
      const { guestPhysicalAddress, size } = this.#nic.pool.region;
      const all = this.#random.below(100) === 0;
      const page = this.#random.below(size / PAGE) * PAGE;
      // Nothing holds the IOTLB here, so that the range is gone when this returns.
      void this.#nic.iotlb!.invalidate(
        BigInt(guestPhysicalAddress + (all ? 0 : page)),
        BigInt(all ? size : PAGE),
      );
    }
    return super.step();
  }
}
