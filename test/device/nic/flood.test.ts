import assert from 'node:assert/strict';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Cable } from '../../support/device-cable.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { until, within } from '../../support/until.js';

const program = new URL('./programs/flood.js', import.meta.url);
const FLOOD = 50_000;
/** Frames of a round, unless told otherwise. */
const ROUND = 256;
const RING = 4 * ROUND;
/** Frames of the other Nic, of which each turn of the loop has one. */
const OTHERS = 100;

describe('a flood on one Nic', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  let quiet: Cable;
  let worker: Worker;

  beforeEach(async () => {
    namespace = Namespace.add();
    quiet = await Cable.lay();
    worker = new Worker(program, { workerData: { namespace: namespace.name, tap: 'tap-a' } });
    await within('the Worker has its Nic', once(worker, 'message'));
  });
  afterEach(async () => {
    await worker.terminate();
    await quiet.remove();
    await namespace.remove();
  });

  it('leaves the loop to others after each round, though more frames wait', async () => {
    const flooded = await namespace.nic('tap-b', { queueSize: RING });
    namespace.bridge('cable', 'tap-a', 'tap-b');
    const frames = new NumberedFrames(60, 'a', 'b');
    await quiet.a.submit(Array.from({ length: OTHERS }, (_, i) => frames.frame(i))).completed;
    await until('the frames of the other Nic are there', () => quiet.b.rx.ring.reapable === OTHERS);
    worker.postMessage('go');
    // Without rounds nothing would come between these frames.
    await until('the ring is full', () => flooded.rx.ring.reapable === RING);

    let taken = 0;
    let batches = 0;
    const takenAtTurn: number[] = [];
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const others = (async () => {
      for await (const _ of quiet.b.receive({ limit: 1 })) {
        takenAtTurn.push(taken);
        if (takenAtTurn.length === OTHERS) return;
        await nextTurn();
      }
    })();
    for await (const batch of flooded.receive()) {
      batches++;
      taken += batch.length;
      if (taken >= FLOOD) break;
    }
    delay.disable();
    await others;

    const between = takenAtTurn.slice(1).map((at, i) => at - takenAtTurn[i]!);
    const most = Math.max(...between);
    console.log(
      `      ${taken} frames in ${batches} batches, at most ${most} between two of the other Nic,`,
      `loop delay p50 ${(delay.percentile(50) / 1e6).toFixed(1)} ms, p99 ${(delay.percentile(99) / 1e6).toFixed(1)} ms`,
    );
    // A round that began before a turn may end after it.
    assert.ok(most <= 2 * ROUND, `${most} frames between two of the other Nic: ${between}`);
    assert.ok(taken - takenAtTurn.at(-1)! > 0, 'the other Nic had its frames before the flood ended');
  });
});
