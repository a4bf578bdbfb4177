import { parentPort, workerData } from 'node:worker_threads';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { holdEverything } from './holdings.js';

/** Holds everything, works on the pool, and ends as it is told to. */
const kernel = hostKernel();
const { device } = holdEverything(kernel);
for (const queue of [0, 1]) kernel.vhost.netDetachBackend(device, queue).catch(() => {});
parentPort?.postMessage('holding');

const { ending } = workerData as { ending: 'terminated' | 'exit' | 'throw' | 'spin' };
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
