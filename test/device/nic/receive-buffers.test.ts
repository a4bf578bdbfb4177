import assert from 'node:assert/strict';
import { once } from 'node:events';
import { HEADER_SIZE, type ReceiveBatch } from '../../../lib/index.js';
import { arrivals } from '../../support/device-arrivals.js';
import { Cable } from '../../support/device-cable.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { TCP } from '../../support/segment.js';
import { DEADLINE, until, within } from '../../support/until.js';

const SIZE = 64;

describe('receive buffers', function () {
  this.timeout(300_000);
  let cable: Cable;
  const frames = new NumberedFrames(100, 'a', 'b');

  beforeEach(async () => {
    // Half of the pool is kept for transmission, so the other half fills the ring once, with nothing to spare.
    cable = await Cable.lay({ queueSize: 256 }, { queueSize: SIZE, buffers: 2 * SIZE });
  });
  afterEach(() => cable.remove());

  it('run out where a consumer keeps them, and what waits in the kernel comes once they are released', async () => {
    const { a, b } = cable;
    const total = 5 * SIZE;
    const sent = a.submit(Array.from({ length: total }, (_, i) => frames.frame(i)));
    const kept: ReceiveBatch[] = [];
    let count = 0;
    let shortages = 0;
    for await (const batch of b.receive({ signal: AbortSignal.timeout(DEADLINE) })) {
      for (const frame of batch) frames.check(count++, frame);
      kept.push(batch.keep());
      if (count === total) break;
      if (b.stats().receive.inFlight > 0) continue;
      shortages++;
      assert.equal(b.pool.free, SIZE, 'only what is kept for transmission is free');
      for (const each of kept.splice(0)) each.release();
    }
    for (const each of kept) each.release();
    assert.ok(shortages >= 4, `${shortages} shortages`);
    assert.deepEqual(await sent.completed, { completed: total, abandoned: 0, withdrawn: 0 });
    assert.equal(b.stats().receive.inFlight, SIZE);
    assert.equal(b.pool.free, SIZE);
  });

  it('lose frames only where the queue of the tap is full, and every lost one is counted there', async () => {
    const { a, b, namespace } = cable;
    const total = 3000;
    // Nobody receives yet: the ring takes some, the tap's queue 1,000, and the rest has no place.
    const numbers = Array.from({ length: total }, (_, i) => i);
    while (numbers.length > 0) {
      const part = numbers.splice(0, 500).map((number) => frames.frame(number));
      const { completed } = await a.submit(part).completed;
      assert.equal(completed, part.length, 'a frame that the tap drops is sent as far as the device knows');
    }
    const dropped = namespace.dropped('tap-b');
    // The worker takes frames from that queue by up to 64 (VHOST_NET_BATCH), for which there may be no buffer yet.
    assert.ok(dropped <= total - 1000 - SIZE && dropped >= total - 1000 - SIZE - 64, `${dropped} dropped`);
    let last = -1;
    let count = 0;
    for await (const batch of b.receive({ signal: AbortSignal.timeout(DEADLINE) })) {
      for (const frame of batch) {
        const number = frames.number(frame);
        frames.check(number, frame);
        assert.ok(number > last);
        last = number;
        count++;
      }
      if (count === total - dropped) break;
    }
    // And the queue works as before.
    await a.send(frames.frame(total));
    for await (const batch of b.receive({ signal: AbortSignal.timeout(DEADLINE) })) {
      frames.check(total, batch.frame(0));
      break;
    }
  });

  it('are taken for transmission from their own share, so that a full receiver can still answer', async () => {
    const { a, b } = cable;
    await a.submit(Array.from({ length: 3 * SIZE }, (_, i) => frames.frame(i))).completed;
    await until('every receive buffer is used', () => b.rx.ring.reapable === SIZE);
    const answer = new NumberedFrames(100, 'b', 'a');
    for (let i = 0; i < SIZE; i++) assert.equal(b.trySend(answer.frame(i)), true);
    let count = 0;
    for await (const batch of a.receive({ signal: AbortSignal.timeout(DEADLINE) })) {
      for (const frame of batch) answer.check(count++, frame);
      if (count === SIZE) break;
    }
  });
});

/** Where a segment finds too few buffers, the kernel's worker waits for more, and every frame behind it waits too. */
describe('receive buffers for segments of 64 KiB', function () {
  this.timeout(300_000);
  const SEGMENT = 60_000;
  let cable: Cable;
  const frames = new NumberedFrames(100, 'a', 'b');

  beforeEach(async () => {
    cable = await Cable.lay({ tap: { offloads: true } }, { tap: { offloads: true }, queueSize: SIZE });
  });
  afterEach(() => cable.remove());

  it('take one whole that came when too few were left, once there are enough, and then what is behind it', async () => {
    const { a, b } = cable;
    const { rx, pool } = b;
    const before = 50;
    await a.submit(Array.from({ length: before }, (_, i) => frames.frame(i))).completed;
    const segment = TCP.segment(SEGMENT, 'a', 'b');
    await a.submit([segment], { header: TCP.header(1448) }).completed;
    await a.submit([frames.frame(before)]).completed;
    const starved = once(b, 'starved');
    await until('what there is room for has come', () => rx.ring.reapable >= before);
    assert.ok((SIZE - before) * pool.bufferSize < SEGMENT);
    assert.equal(rx.reap(), before, 'nothing of the segment, and nothing that was behind it');
    assert.equal(rx.corruption, undefined);
    // What the worker does until then is the kernel's: it sleeps, or before 2026 looks again and again at full load.
    assert.deepEqual(await within('it is told', starved), [{ pair: 0, buffers: SIZE - before }]);
    await within('the queues stop, whatever the worker does', b.detach());
    await b.attach();
    for (const [i, first] of rx.frames.subarray(0, before).entries()) {
      frames.check(i, pool.bytes, pool.offset(first) + HEADER_SIZE, pool.length[first]! - HEADER_SIZE);
      pool.releaseFrame(first);
    }
    rx.refill();
    const [whole, behind] = await arrivals(b, (all) => all.length === 2);
    assert.equal(whole!.header.gsoType, 'tcpv4');
    assert.equal(Buffer.compare(whole!.frame, segment), 0);
    frames.check(before, behind!.frame);
  });

  it('are refused, when a Nic opens and when its backend changes, where all of them could not hold one', async () => {
    const { a, b, namespace } = cable;
    const refusal = {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message:
        /^queueSize must be so large that the receive buffers hold the longest frame of this backend, /,
    };
    const small = { queueSize: { receive: 8 } };
    await assert.rejects(namespace.nic('tap-c', { ...small, tap: { offloads: true } }), refusal);
    assert.throws(() => namespace.ip('link', 'show', 'tap-c'), /does not exist/);
    const ordinary = await namespace.nic('tap-d', small);
    namespace.ip('link', 'set', 'tap-d', 'master', 'cable');
    await assert.rejects(
      ordinary.swapBackend({ tap: { name: 'tap-e', netns: namespace.name, mtu: 20_000 } }),
      refusal,
    );
    assert.equal(ordinary.name, 'tap-d', 'the old one goes on');
    await until('its port forwards', () => namespace.forwards('cable'));
    await a.send(frames.frame(0));
    for (const nic of [b, ordinary])
      frames.check(0, (await arrivals(nic, (all) => all.length === 1))[0]!.frame);
  });
});
