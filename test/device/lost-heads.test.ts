import assert from 'node:assert/strict';
import { once } from 'node:events';
import { HEADER_SIZE, hostKernel, KernelVhost, type Loss, Nic } from '../../lib/index.js';
import { handFrame } from '../../lib/memory/frame-pool.js';
import { ControlDevice } from '../support/control-device.js';
import { Cable } from '../support/device-cable.js';
import { Flow, run } from '../support/device-flow.js';
import { Namespace } from '../support/device-namespace.js';
import { NumberedFrames } from '../support/numbered-frames.js';
import { DEADLINE, until, within } from '../support/until.js';

const RX = 0;
const TX = 1;
const LENGTH = 60;
const toB = new NumberedFrames(LENGTH, 'a', 'b');
const batch = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => toB.frame(i));

/** Sent without being copied, what no interface takes is given back: two of the losses do not happen then. */
const { zeroCopy = false } = KernelVhost.capabilities();

/** What a device does not give back, and what it swallows, by itself or because of what it was given. */
describe('heads that never come back', function () {
  this.timeout(300_000);
  let cable: Cable;
  let vhost: KernelVhost;
  let far: KernelVhost;
  let losses: Loss[];

  beforeEach(async () => {
    vhost = KernelVhost.open();
    far = KernelVhost.open();
    cable = await Cable.lay({ vhost, queueSize: 64 }, { vhost: far, queueSize: 64 });
    losses = [];
    cable.a.on('lost', (loss) => losses.push(loss));
  });
  afterEach(() => cable.remove());

  /** Posts a chain that no `Nic` would: one descriptor of so many bytes, to be written or read. */
  function postRaw(nic: Nic, length: number, writable: boolean): void {
    const { tx, pool } = nic;
    const buffer = pool.lease();
    toB.write(0, pool.bytes, pool.offset(buffer) + HEADER_SIZE);
    pool.length[buffer] = length;
    const head = tx.ring.post(pool.addressHigh, pool.address(buffer), length, writable);
    handFrame(pool, buffer);
    tx.ledger.submit(head, length, buffer);
    tx.flush();
  }

  it('are found within the deadline and given back when the queue is bound again', async () => {
    const { a, b } = cable;
    // The error that the device reports for this chain is heard by nobody.
    vhost.setVringErr(TX, -1);
    postRaw(a, 72, true);
    await until('the device has taken it', () => vhost.getVringBase(TX) === 1);
    // And having stopped there, it has not asked for a kick: what comes behind waits too.
    const behind = a.submit(batch(4));
    assert.deepEqual(await a.reclaim({ deadline: 100 }), { lost: 1, abandoned: 1 });
    assert.deepEqual(await behind.completed, { completed: 4, abandoned: 0, withdrawn: 0 });
    await until('the loss is told', () => losses.length > 0);
    assert.deepEqual(losses, [{ pair: 0, queue: TX, count: 1 }]);
    const { inFlight, lost, errors } = a.stats().transmit;
    assert.deepEqual([inFlight, lost, errors], [0, 1, {}]);
    await until('what was sent before has come', () => b.rx.ring.reapable === 4);
    b.rx.reap();
    for (const first of b.rx.frames.subarray(0, 4)) b.pool.releaseFrame(first);
    await run(new Flow(a, b, toB, 500));
  });

  it('are found on the receive queue too, where nothing is sent', async () => {
    const { a, b } = cable;
    const { rx, pool } = b;
    const told: Loss[] = [];
    b.on('lost', (loss) => told.push(loss));
    // The error that the device reports for a buffer which it may only read is heard by nobody.
    far.setVringErr(RX, -1);
    await a.submit(batch(rx.ring.size)).completed;
    await until('every receive buffer is used', () => rx.ring.reapable === rx.ring.size);
    rx.reap();
    for (const first of rx.frames) pool.releaseFrame(first);
    const buffer = pool.lease();
    const head = rx.ring.post(pool.addressHigh, pool.address(buffer), pool.bufferSize, false);
    handFrame(pool, buffer);
    rx.ledger.submit(head, pool.bufferSize, buffer);
    rx.refill();
    const base = far.getVringBase(RX);
    assert.deepEqual(await b.reclaim({ deadline: DEADLINE }), { lost: 0, abandoned: 0 }, 'not taken yet');
    await a.submit(batch(1)).completed;
    await until('the device has taken it', () => far.getVringBase(RX) === ((base + 1) & 0xffff));
    assert.equal(rx.ring.reapable, 0);
    assert.deepEqual(await b.reclaim({ deadline: 100 }), { lost: 1, abandoned: 0 });
    await until('the loss is told', () => told.length > 0);
    assert.deepEqual(told, [{ pair: 0, queue: RX, count: 1 }]);
    const { inFlight, lost, errors } = b.stats().receive;
    assert.deepEqual([inFlight, lost, errors], [rx.ring.size, 1, {}]);
    await until('the frame that met it has come', () => rx.ring.reapable === 1);
    rx.reap();
    toB.check(0, pool.bytes, pool.offset(rx.frames[0]!) + HEADER_SIZE, LENGTH);
    pool.releaseFrame(rx.frames[0]!);
    await run(new Flow(a, b, toB, 500));
  });

  it('are told with the error where the device reports one', async () => {
    const { a } = cable;
    const errored = once(a, 'error');
    postRaw(a, 72, true);
    const [error] = await within('the error is told', errored);
    assert.equal(error.code, 'ERR_VHOST_QUEUE_ERROR');
    assert.deepEqual(losses, [{ pair: 0, queue: TX, count: 1 }]);
    await a.attach();
    await a.submit(batch(4)).completed;
  });

  it('are no loss where the device spins on the first and takes none: they can be abandoned', async () => {
    const { a } = cable;
    postRaw(a, 8, false);
    const behind = a.submit(batch(4));
    assert.deepEqual(await a.reclaim({ deadline: 100 }), { lost: 0, abandoned: 0 });
    const stuck = zeroCopy ? 0 : 4;
    assert.equal(behind.pending, stuck);
    const given = stuck === 0 ? 0 : stuck + 1;
    assert.deepEqual(await a.reclaim({ deadline: 100, untaken: 'abandon' }), { lost: 0, abandoned: given });
    assert.deepEqual(behind.result, { completed: 4 - stuck, abandoned: stuck, withdrawn: 0 });
    assert.deepEqual(await a.submit(batch(4)).completed, { completed: 4, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(losses, []);
  });

  it('are those that were on their way to a tap that was deleted (vhost_tx_batch)', async () => {
    const { a, namespace } = cable;
    const errored = once(a, 'error');
    namespace.ip('link', 'del', 'tap-a');
    // In the same turn, so that the Nic cannot know yet.
    const submission = a.submit(batch(10));
    const end = Date.now() + DEADLINE;
    while (vhost.getVringBase(TX) !== 10) assert.ok(Date.now() < end, 'the device takes them');
    const lost = zeroCopy ? 0 : 10;
    assert.deepEqual(await submission.completed, { completed: 10 - lost, abandoned: lost, withdrawn: 0 });
    const [error] = await within('the error is told', errored);
    assert.equal(error.code, 'ERR_VHOST_BACKEND_GONE');
    assert.deepEqual(
      losses.filter(({ queue }) => queue === TX),
      zeroCopy ? [] : [{ pair: 0, queue: TX, count: lost }],
    );
    assert.equal(a.stats().transmit.lost, lost);
  });

  it('are none of those given to a tap that is down: they complete, and nobody has them', async () => {
    const { a, b, namespace } = cable;
    namespace.ip('link', 'set', 'tap-a', 'down');
    assert.deepEqual(await a.submit(batch(10)).completed, { completed: 10, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(await a.reclaim({ deadline: 0 }), { lost: 0, abandoned: 0 });
    namespace.ip('link', 'set', 'tap-a', 'up');
    await run(new Flow(a, b, toB, 500));
  });
});

describe('frames that a device swallows', function () {
  this.timeout(300_000);

  it('all of them, where the tap’s header is not of the size agreed; a Nic sets it on each of its queues', async () => {
    const cable = await Cable.lay({ queueSize: 64, queuePairs: 2 }, { queueSize: 64 });
    try {
      const { a, b } = cable;
      const { tun } = hostKernel();
      for (const fd of a.backend.queues) assert.equal(tun.getVnetHdrSz(fd), HEADER_SIZE);
      tun.setVnetHdrSz(b.backend.fd, 10);
      const carried = (): number =>
        Number(cable.namespace.run('cat', '/sys/class/net/tap-b/statistics/tx_packets'));
      const before = carried();
      await a.submit(batch(10)).completed;
      await until('the tap has passed them on', () => carried() === before + 10);
      assert.deepEqual([b.rx.ring.reapable, b.stats().receive.errors], [0, {}]);
      tun.setVnetHdrSz(b.backend.fd, HEADER_SIZE);
      await run(new Flow(a, b, toB, 500));
    } finally {
      await cable.remove();
    }
  });

  it('one that is longer than a buffer, without VIRTIO_NET_F_MRG_RXBUF; the buffer stays available', async () => {
    const namespace = Namespace.add();
    const device = new ControlDevice(KernelVhost.open());
    let sender: Nic | undefined;
    try {
      const call = device.eventfd();
      const tap = device.tap(namespace, 'short');
      device.setUp();
      device.vhost.setVringCall(RX, call);
      const ring = new DataView(device.region.buffer, 0, 4096);
      ring.setBigUint64(0, BigInt(device.region.guestPhysicalAddress + 32 * 4096), true);
      ring.setUint32(8, HEADER_SIZE + 100, true);
      const WRITE = 2;
      ring.setUint16(12, WRITE, true);
      ring.setUint16(device.availableRing + 2, 1, true);
      device.vhost.setBackend(RX, tap.fd);
      sender = await Nic.open({ packet: { name: 'short', netns: namespace.name } });
      await sender.submit([new Uint8Array(1000).fill(1), new Uint8Array(LENGTH).fill(2)]).completed;
      await device.signalled(call);
      assert.equal(ring.getUint16(device.usedRing + 2, true), 1, 'one of the two came');
      assert.equal(ring.getUint32(device.usedRing + 8, true), HEADER_SIZE + LENGTH);
      assert.equal(new Uint8Array(device.region.buffer)[32 * 4096 + HEADER_SIZE], 2);
    } finally {
      await sender?.close();
      await device.close();
      await namespace.remove();
    }
  });
});
