import { parentPort } from 'node:worker_threads';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { holdEverything } from './holdings.js';

/** Holds everything, and queues a detach when it is told to. */
const kernel = hostKernel();
const { device } = holdEverything(kernel);
parentPort?.on('message', () => {
  kernel.vhost.netDetachBackend(device, 0).catch(() => {});
  parentPort?.postMessage('detaching');
});
parentPort?.postMessage('holding');
