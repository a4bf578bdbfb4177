import { once } from 'node:events';
import { closeSync, open, openSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { makeFifo } from '../fifo.js';
import { memfdMappings, openDescriptors } from '../process-state.js';
import { MAPPING } from './holdings.js';

/**
 * A Worker is terminated while its detach waits for a thread of the pool, all of which open a fifo that has no
 * other end yet. Its memory and its device must stay until the detach has run.
 */
const { UV_THREADPOOL_SIZE: threads = '4' } = process.env;
const { path, remove } = makeFifo();
const before = openDescriptors().size;
const worker = new Worker(new URL('./detaching-worker.js', import.meta.url));
await once(worker, 'message');
const opened = Array.from(
  { length: Number(threads) },
  () =>
    new Promise<number>((resolve, reject) => {
      open(path, 'r', (error, fd) => (error ? reject(error) : resolve(fd)));
    }),
);
worker.postMessage('detach');
await once(worker, 'message');
let ended = false;
const terminated = worker.terminate().then(() => {
  ended = true;
});
// Nothing tells from outside that the Worker has come to its wait: turns of this loop give it every chance to
// go too far. What is asserted holds at each of them.
let heldWhilePending = true;
for (let i = 0; i < 500; i++) {
  await nextTurn();
  heldWhilePending &&= memfdMappings(MAPPING) === 2 && !ended;
}
const writer = openSync(path, 'w');
for (const fd of await Promise.all(opened)) closeSync(fd);
closeSync(writer);
remove();
await terminated;
const mappings = memfdMappings(MAPPING);
const descriptors = openDescriptors().size - before;
console.log(JSON.stringify({ heldWhilePending, mappings, descriptors }));
