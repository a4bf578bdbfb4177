import assert from 'node:assert/strict';
import { Namespace } from '../support/device-namespace.js';
import { runProgram } from '../support/node-program.js';

const program = new URL('./programs/ring-tier-heap.js', import.meta.url);
const FRAMES = 1_000_000;

describe('the ring tier', function () {
  this.timeout(600_000);
  let namespace: Namespace;

  beforeEach(() => {
    namespace = Namespace.add();
  });
  afterEach(() => namespace.remove());

  it('allocates nothing while a million frames are sent', async () => {
    const { status, stdout, stderr } = await runProgram(program, [namespace.name, String(FRAMES)], {
      node: ['--min-semi-space-size=64', '--max-semi-space-size=64'],
      deadline: 500_000,
    });
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
    const { growth, completed, inFlight } = JSON.parse(stdout);
    assert.deepEqual({ completed, inFlight }, { completed: FRAMES, inFlight: 0 });
    // What is left is the clock, for one batch of 64: no tenth of a byte for each frame.
    assert.ok(growth < FRAMES / 10, `the heap grew by ${growth} bytes in ${FRAMES} frames`);
  });
});
