import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HEADER_SIZE, type Nic, type Submission } from '../../../lib/index.js';
import { LateLink, submitTaken, type TellingNic } from '../../support/late-link.js';
import { type Resources, resources } from '../../support/process-resources.js';
import { MIN_TEST_FRAME, macBytes, readTestFrame, writeTestFrame } from '../../support/test-frame.js';
import { until, within } from '../../support/until.js';

/** Whether this run's vhost_net sends without copying; the same tests hold in both, with different orders. */
const zeroCopy = process.env.VHOST_TEST_ZEROCOPY === '1';
const SIZES = [1000, 1000, 64, 1000, 64, 1000, 1000, 64];
const DELAY = 200;

function testFrame(nic: Nic, length: number, sequence: number): Uint8Array {
  const frame = new Uint8Array(length);
  writeTestFrame(frame, 0, length, macBytes(nic.backend.interface.mac), sequence);
  return frame;
}

describe(`a link that lets go of frames late, zero-copy ${zeroCopy ? 'on' : 'off'}`, function () {
  this.timeout(300_000);
  let link: LateLink;
  beforeEach(() => {
    link = LateLink.lay(`delay ${DELAY}ms`);
  });
  afterEach(() => link.remove());

  it('tells its link state', async () => {
    await using nic = await link.openNear();
    assert.equal(nic.stats().transmit.linkState, zeroCopy ? 'async' : 'sync');
    assert.equal(nic.stats().receive.linkState, 'sync');
  });

  /** Submits frames of both sizes, and expects them to complete in the order of the link state. */
  async function showOrder(nic: Nic): Promise<void> {
    const submission = nic.submit(SIZES.map((length, i) => testFrame(nic, length, i)));
    assert.deepEqual(await submission.completed, { completed: 8, abandoned: 0, withdrawn: 0 });
    const { submitted, completed, inFlight, abandoned, outOfOrder } = nic.stats().transmit;
    assert.deepEqual(
      { submitted, completed, inFlight, abandoned },
      {
        submitted: 8,
        completed: 8,
        inFlight: 0,
        abandoned: 0,
      },
    );
    const small = SIZES.flatMap((length, i) => (length === 64 ? [submission.latency[i]!] : []));
    const large = SIZES.flatMap((length, i) => (length === 64 ? [] : [submission.latency[i]!]));
    if (zeroCopy) {
      assert.equal(outOfOrder, 5, 'five large frames complete after the last small one');
      // A program that sleeps through the delay finds all of them at once.
      assert.ok(Math.max(...small) <= Math.min(...large), `${small} not after ${large}`);
      assert.ok(Math.min(...large) >= DELAY, `${large} not before the delay`);
    } else {
      assert.equal(outOfOrder, 0);
      assert.deepEqual(
        [...submission.latency],
        [...submission.latency].sort((a, b) => a - b),
      );
    }
  }

  const order = zeroCopy ? 'completes small frames before larger ones sent earlier' : 'completes in order';

  it(order, async () => {
    await using nic = await link.openNear();
    await showOrder(nic);
  });

  it(`${order} over a tap too, whose frames leave by the same cable`, async () => {
    const nic = await link.near.nic('tap-near');
    assert.equal(nic.stats().transmit.linkState, zeroCopy ? 'async' : 'sync');
    // Before the stack sees them: what it takes itself it copies.
    link.near.run('tc', 'qdisc', 'add', 'dev', 'tap-near', 'ingress');
    link.near.run(
      'tc',
      ...['filter', 'add', 'dev', 'tap-near', 'parent', 'ffff:', 'matchall'],
      ...['action', 'mirred', 'egress', 'redirect', 'dev', 'cable'],
    );
    await showOrder(nic);
  });

  describe('with frames that the device has taken and not let go of', () => {
    const LATE = 1000;
    // Of which a ring of 256 has no more than a quarter sent without copying at once (vhost_exceeds_maxpend()).
    const COUNT = 32;
    let near: TellingNic;
    let late: Submission;
    let before: Resources;
    beforeEach(async () => {
      // What the first use starts for good is not to be counted.
      await (await link.openNear()).close();
      await until('the first device is gone', () => resources().workers === 0);
      before = resources();
      link.delay(`delay ${LATE}ms`);
      near = await link.openTelling({ maxInFlight: { frames: COUNT } });
      late = await submitTaken(
        near,
        Array.from({ length: COUNT }, (_, i) => testFrame(near.nic, 1000, i)),
      );
      if (zeroCopy) assert.equal(late.pending, COUNT, 'the device has returned none');
    });
    afterEach(async () => {
      await within('the Nic is closed', near.nic.close());
      assert.equal(near.nic.stats().transmit.inFlight, 0);
      await until('nothing is left', () => {
        const { workers, mappings, descriptors } = resources();
        return (
          workers === 0 && mappings === before.mappings && descriptors.length <= before.descriptors.length
        );
      });
      assert.deepEqual(resources().descriptors, before.descriptors);
    });

    /** Every frame is completed, and where it was not copied, no sooner than the network had it. */
    async function allCompleted(): Promise<void> {
      assert.deepEqual(await within('every frame is settled', late.completed), {
        completed: COUNT,
        abandoned: 0,
        withdrawn: 0,
      });
      if (zeroCopy) assert.ok(Math.min(...late.latency) >= LATE, `${late.latency} not before the delay`);
    }

    it('completes them as it closes, and does not hold the loop while it waits', async () => {
      let closed = false;
      const closing = near.nic.close().then(() => {
        closed = true;
      });
      let turns = 0;
      while (!closed) {
        turns++;
        await nextTurn();
      }
      await closing;
      await allCompleted();
      assert.ok(turns > 1, 'the loop turned while the device let go');
      assert.equal(near.nic.stats().transmit.submitted, COUNT);
    });

    it('completes them as it moves to another link that holds frames back', async () => {
      const other = LateLink.lay(`delay ${DELAY}ms`);
      try {
        await near.nic.swapBackend({ macvtap: { name: other.macvtap, netns: other.near.name } });
        assert.equal(near.nic.name, other.macvtap);
        await allCompleted();
        const after = near.nic.submit(SIZES.map((length, i) => testFrame(near.nic, length, COUNT + i)));
        assert.deepEqual(await after.completed, { completed: 8, abandoned: 0, withdrawn: 0 });
        await near.nic.close();
      } finally {
        await other.remove();
      }
    });

    it('completes them as it moves to a link that copies', async () => {
      await near.nic.swapBackend({ packet: { name: 'cable', netns: link.near.name } });
      assert.equal(near.nic.stats().transmit.linkState, 'sync');
      await allCompleted();
      const { outOfOrder } = near.nic.stats().transmit;
      const after = near.nic.submit(SIZES.map((length, i) => testFrame(near.nic, length, COUNT + i)));
      assert.deepEqual(await after.completed, { completed: 8, abandoned: 0, withdrawn: 0 });
      assert.equal(near.nic.stats().transmit.outOfOrder, outOfOrder, 'a packet socket completes in order');
    });

    // Where frames are copied, there is room by now.
    if (zeroCopy)
      it('withdraws what waits behind them when it is aborted, and they go on', async () => {
        const abort = new AbortController();
        const behind = near.nic.submit([testFrame(near.nic, 1000, COUNT)], { signal: abort.signal });
        assert.equal(behind.posted, 0, 'as many are in flight as may be');
        const drained = near.nic.drain({ signal: abort.signal });
        abort.abort(new Error('enough'));
        await assert.rejects(behind.accepted, /enough/);
        await assert.rejects(drained, /enough/);
        assert.deepEqual(await behind.completed, { completed: 0, abandoned: 0, withdrawn: 1 });
        assert.equal(late.pending, COUNT);
        await allCompleted();
        assert.equal(near.nic.stats().transmit.submitted, COUNT);
      });
  });

  it('follows the link state of the backend that it moves to', async () => {
    await using nic = await link.openNear();
    await nic.swapBackend({ packet: { name: 'cable', netns: link.near.name } });
    assert.equal(nic.stats().transmit.linkState, 'sync');
    const submission = nic.submit(SIZES.map((length, i) => testFrame(nic, length, i)));
    assert.deepEqual(await submission.completed, { completed: 8, abandoned: 0, withdrawn: 0 });
    assert.equal(nic.stats().transmit.outOfOrder, 0, 'a packet socket completes in order');
  });

  it('completes 100,000 mixed frames once each, untouched until then', async () => {
    link.delay('delay 50ms 20ms reorder 25% 50%');
    const COUNT = 100_000;
    // The far tap drops what its queue cannot hold, so no more is under way than it can.
    const WINDOW = 4096;
    await using near = await link.openNear({ queueSize: 1024 });
    await using far = await link.openFar({ queueSize: 1024 });
    const seen = new Uint8Array(COUNT);
    let arrived = 0;
    const receiving = (async () => {
      for await (const batch of far.receive()) {
        for (const frame of batch) {
          const sequence = readTestFrame(frame, 0, frame.length);
          if (sequence === -1) continue;
          assert.equal(seen[sequence]++, 0, `frame ${sequence} arrives once`);
          arrived++;
        }
        if (arrived === COUNT) return;
      }
    })();

    const source = macBytes(near.backend.interface.mac);
    const { tx, pool } = near;
    const settled = new Uint8Array(COUNT);
    const sequences = new Int32Array(pool.count).fill(-1);
    let sent = 0;
    let done = 0;
    while (done < COUNT) {
      for (; sent < COUNT && sent - arrived < WINDOW; sent++) {
        const buffer = pool.lease();
        if (buffer === -1) break;
        const length = MIN_TEST_FRAME + ((sent * 7919) % (1514 - MIN_TEST_FRAME + 1));
        const start = pool.offset(buffer);
        pool.bytes.fill(0, start, start + HEADER_SIZE);
        writeTestFrame(pool.bytes, start + HEADER_SIZE, length, source, sent);
        pool.length[buffer] = HEADER_SIZE + length;
        sequences[buffer] = sent;
        if (tx.post(buffer) === -1) {
          pool.release(buffer);
          break;
        }
      }
      tx.flush();
      if (tx.ledger.inFlight > 0) await tx.ready();
      else await nextTurn();
      const count = tx.reap();
      for (let i = 0; i < count; i++) {
        const buffer = tx.ledger.tokens[i]!;
        assert.equal(settled[sequences[buffer]!]++, 0, `frame ${sequences[buffer]} completes once`);
        // Were the kernel not done with it, the far end would see this.
        const start = pool.offset(buffer);
        pool.bytes.fill(0xdd, start, start + pool.length[buffer]!);
      }
      done += count;
    }
    await receiving;
    assert.equal(arrived, COUNT);
    const { submitted, completed, abandoned, inFlight, outOfOrder } = near.stats().transmit;
    assert.deepEqual(
      { submitted, completed, abandoned, inFlight },
      { submitted: COUNT, completed: COUNT, abandoned: 0, inFlight: 0 },
    );
    if (zeroCopy) assert.ok(outOfOrder > 0, 'some frames overtook others');
    else assert.equal(outOfOrder, 0);
  });
});
