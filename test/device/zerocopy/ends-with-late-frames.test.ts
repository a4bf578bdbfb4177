import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { LateLink } from '../../support/late-link.js';
import { runProgram } from '../../support/node-program.js';
import { resources } from '../../support/process-resources.js';
import { until } from '../../support/until.js';

const program = new URL('./programs/end-with-late-frames.js', import.meta.url);

describe('an environment that ends with frames in flight', function () {
  this.timeout(300_000);
  let link: LateLink;
  beforeEach(() => {
    link = LateLink.lay('delay 200ms');
  });
  afterEach(() => link.remove());

  it('ends a process with the status that it chose, once the kernel has let go', async () => {
    const ending = await runProgram(program, [link.near.name, link.macvtap]);
    assert.deepEqual(ending, { status: 0, signal: null, stdout: '', stderr: '' });
  });

  it('ends a Worker that is terminated, and leaves no descriptor, mapping or worker of the kernel', async () => {
    // What the first use starts for good: the addon, the pool of threads.
    await (await link.openNear()).close();
    await until('the first device is gone', () => resources().workers === 0);
    const before = resources();
    const worker = new Worker(program, { workerData: [link.near.name, link.macvtap] });
    assert.deepEqual(await once(worker, 'message'), [32]);
    await worker.terminate();
    await until('all is as it was', () => {
      const { descriptors, mappings, workers } = resources();
      return workers === 0 && mappings === before.mappings && descriptors.length <= before.descriptors.length;
    });
    assert.deepEqual(resources().descriptors, before.descriptors);
    // The link is free for another.
    await (await link.openNear()).close();
  });
});
