import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { holdEverything } from './holdings.js';

export interface Orders {
  readonly ending: 'terminated' | 'exit' | 'throw' | 'spin';
  /** A descriptor of the main thread's. */
  readonly foreign?: number;
}

/** Holds everything, works on the pool, and ends as it is told to. */
const kernel = hostKernel();
const { device } = holdEverything(kernel);
for (const queue of [0, 1]) kernel.vhost.netDetachBackend(device, queue).catch(() => {});
parentPort?.postMessage('holding');

const { ending, foreign } = workerData as Orders;
// What another environment owns is not this one's to close.
if (foreign !== undefined) assert.throws(() => kernel.descriptor.close(foreign), { code: 'EBADF' });
if (ending === 'exit') process.exit(0);
if (ending === 'throw') throw new Error('the end');
// For termination in the middle of calls.
if (ending === 'spin')
  for (;;) {
    const fd = kernel.eventfd.create();
    kernel.eventfd.signal(fd);
    const mapping = kernel.memory.create('spin', kernel.memory.pageSize(), 0);
    kernel.memory.unmap(mapping);
    kernel.descriptor.close(fd);
  }
