import { setImmediate as nextTurn } from 'node:timers/promises';
import { hostKernel } from '../../../../lib/kernel/host.js';

/** Watches without keeping the object; signals go on arriving after it was collected. */
const { poller, eventfd } = hostKernel();
const fd = eventfd.create();
const counts: number[] = [];

const watch = (() => new WeakRef(poller.watchEventfd(fd, (count) => counts.push(count))))();
for (let round = 0; round < 3; round++) {
  await nextTurn();
  for (let i = 0; i < 3; i++) globalThis.gc?.();
  await nextTurn();
  eventfd.signal(fd);
  while (counts.length === round) await nextTurn();
}
console.log(JSON.stringify({ collected: watch.deref() === undefined, counts }));
process.exit(0);
