import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { LateLink } from '../../support/late-link.js';
import { runProgram } from '../../support/node-program.js';
import { resources } from '../../support/process-resources.js';
import { until, within } from '../../support/until.js';

const program = new URL('./programs/end-with-late-frames.js', import.meta.url);
/** Whether frames are still in flight once the device has taken them. */
const zeroCopy = process.env.VHOST_TEST_ZEROCOPY === '1';

describe('an environment that ends with frames that the device has taken', function () {
  this.timeout(300_000);
  let link: LateLink;
  beforeEach(() => {
    link = LateLink.lay('delay 1000ms');
  });
  afterEach(() => link.remove());

  for (const [way, ends, status, signal] of [
    ['exit', 'by process.exit()', 7, null],
    ['throw', 'by an exception in a callback', 1, null],
    ['kill', 'by SIGKILL', null, 'SIGKILL'],
  ] as const)
    it(`ends a process ${ends} as it would any, once the kernel has let go`, async () => {
      const ending = await runProgram(program, [link.near.name, link.macvtap, way]);
      assert.deepEqual([ending.status, ending.signal], [status, signal]);
      if (zeroCopy) assert.equal(ending.stdout, '32\n');
      if (way === 'throw') assert.match(ending.stderr, /nobody catches it/);
      else assert.equal(ending.stderr, '');
      // The link is free for another.
      await (await link.openNear()).close();
    });

  it('ends a Worker that is terminated, and leaves no descriptor, mapping or worker of the kernel', async () => {
    // What the first use starts for good: the addon, the pool of threads.
    await (await link.openNear()).close();
    await until('the first device is gone', () => resources().workers === 0);
    const before = resources();
    const worker = new Worker(program, { workerData: [link.near.name, link.macvtap] });
    const [inFlight] = await within('the frames are taken', once(worker, 'message'));
    if (zeroCopy) assert.equal(inFlight, 32);
    await within('the Worker ends', worker.terminate());
    await until('all is as it was', () => {
      const { descriptors, mappings, workers } = resources();
      return workers === 0 && mappings === before.mappings && descriptors.length <= before.descriptors.length;
    });
    assert.deepEqual(resources().descriptors, before.descriptors);
    await (await link.openNear()).close();
  });
});
