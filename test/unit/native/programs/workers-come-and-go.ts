import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { memfdMappings, openDescriptors, threadCount } from '../process-state.js';
import type { Orders } from './holding-worker.js';
import { MAPPING } from './holdings.js';

/** Starts and ends many Workers, several at once, each holding everything; then looks what is left of them. */
const TOTAL = 200;
const AT_ONCE = 5;
const ENDINGS = ['terminated', 'exit', 'spin', 'terminated', 'throw'] as const;

// In this environment too, so that the addon stays loaded, and one that the Workers must leave alone.
const { eventfd, memory } = hostKernel();
const own = eventfd.create();
const mapping = memory.create('main', memory.pageSize(), 0);
new Uint8Array(mapping.buffer)[0] = 1;

async function live(index: number): Promise<void> {
  const ending = ENDINGS[index % ENDINGS.length];
  const worker = new Worker(new URL('./holding-worker.js', import.meta.url), {
    workerData: { ending, foreign: own } satisfies Orders,
  });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.on('error', (error: Error) => {
    if (ending !== 'throw' || error.message !== 'the end') throw error;
  });
  // One in seven is terminated before it could hold anything, or while it does.
  if (index % 7 !== 0) await Promise.race([once(worker, 'message').catch(() => {}), ended]);
  if (ending === 'terminated' || ending === 'spin' || index % 7 === 0) await worker.terminate();
  await ended;
}

async function rounds(total: number): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < total) await live(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

const settled = () => ({
  descriptors: openDescriptors().size,
  threads: threadCount(),
  mappings: memfdMappings(MAPPING),
});
// The first Workers start what stays: the threads of the pool.
await rounds(AT_ONCE);
const before = settled();
await rounds(TOTAL);
const after = settled();
eventfd.signal(own);
const untouched = eventfd.take(own) === 1 && new Uint8Array(mapping.buffer)[0] === 1;
console.log(JSON.stringify({ before, after, untouched }));
