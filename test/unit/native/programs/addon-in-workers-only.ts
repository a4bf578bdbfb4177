import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { memfdMappings } from '../process-state.js';
import { MAPPING } from './holdings.js';

/** The main thread never loads the addon, so that each Worker's end may unload the library. */
for (let i = 0; i < 30; i++) {
  const worker = new Worker(new URL('./holding-worker.js', import.meta.url), {
    workerData: { ending: i % 2 === 0 ? 'terminated' : 'exit' },
  });
  const ended = once(worker, 'exit');
  await Promise.race([once(worker, 'message'), ended]);
  await worker.terminate();
  await ended;
}
console.log(JSON.stringify({ mappings: memfdMappings(MAPPING) }));
