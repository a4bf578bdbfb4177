import assert from 'node:assert/strict';
import { Namespace } from '../support/device-namespace.js';
import { runProgram } from '../support/node-program.js';

const program = new URL('./programs/ring-tier-heap.js', import.meta.url);
/** Each is sent and received: a million frames through the ring tier. */
const FRAMES = 500_000;

describe('the ring tier', function () {
  this.timeout(600_000);
  let namespace: Namespace;

  beforeEach(() => {
    namespace = Namespace.add();
  });
  afterEach(() => namespace.remove());

  it('allocates nothing while a million frames are sent and received, some of them in two buffers', async () => {
    const { status, stdout, stderr } = await runProgram(program, [namespace.name, String(FRAMES)], {
      node: ['--min-semi-space-size=64', '--max-semi-space-size=64'],
      deadline: 500_000,
    });
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    const { growth, collections, merged, ...counts } = JSON.parse(stdout);
    assert.deepEqual(counts, { sent: FRAMES, received: FRAMES, inFlight: 0 });
    assert.ok(merged > FRAMES / 20, `${merged} receive buffers continued a frame`);
    assert.deepEqual(collections, [], `what was collected is not counted; the heap grew by ${growth} bytes`);
    // What is left is the clock, for one batch in 4,096 frames.
    assert.ok(growth >= 0 && growth < 65_536, `the heap grew by ${growth} bytes`);
  });
});
