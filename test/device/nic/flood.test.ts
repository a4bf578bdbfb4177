import assert from 'node:assert/strict';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { Cable } from '../../support/device-cable.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { within } from '../../support/until.js';

const program = new URL('./programs/flood.js', import.meta.url);
const FLOOD = 50_000;

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

  it('starves neither timers nor another Nic of the same thread', async () => {
    const flooded = await namespace.nic('tap-b');
    namespace.bridge('cable', 'tap-a', 'tap-b');
    const frame = new NumberedFrames(60, 'a', 'b').frame(0);

    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    let passed = 0;
    const passing = (async () => {
      for await (const batch of quiet.b.receive()) {
        passed += batch.length;
        quiet.a.trySend(frame);
      }
    })();
    quiet.a.trySend(frame);

    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    worker.postMessage('go');
    let taken = 0;
    let batches = 0;
    for await (const batch of flooded.receive()) {
      batches++;
      taken += batch.length;
      if (taken >= FLOOD) break;
    }
    delay.disable();
    clearInterval(timer);
    await quiet.b.close();
    await passing;

    // A round takes 256 frames, and each ends with a turn of the loop in which the others have theirs.
    const rounds = FLOOD / 256;
    console.log(
      `      ${taken} frames in ${batches} batches; meanwhile ${ticks} ticks, ${passed} frames on the other Nic,`,
      `loop delay p50 ${(delay.percentile(50) / 1e6).toFixed(1)} ms, p99 ${(delay.percentile(99) / 1e6).toFixed(1)} ms`,
    );
    assert.ok(ticks >= rounds / 4, `${ticks} ticks in ${rounds} rounds`);
    assert.ok(passed >= rounds / 20, `${passed} frames on the other Nic in ${rounds} rounds`);
  });
});
