import { spawnSync } from 'node:child_process';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hostKernel } from '../../../../lib/kernel/host.js';

/** An eventfd whose file another process has too, and has made blocking. */
const { eventfd, poller, descriptor } = hostKernel();
const fd = eventfd.create();
const FULL = new Uint8Array([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);

const blocking = 'import fcntl; fcntl.fcntl(3, fcntl.F_SETFL, 0)';
spawnSync('python3', ['-c', blocking], { stdio: ['ignore', 'inherit', 'inherit', fd] });

const empty = eventfd.take(fd);

descriptor.write(fd, FULL);
for (let i = 0; i < 3; i++) eventfd.signal(fd);
const full = [eventfd.take(fd), eventfd.take(fd)];

async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await nextTurn();
}

// A watch of what was beyond full goes on.
const watched: number[][] = [];
let taken: number[] = [];
const watch = poller.watchEventfd(fd, (count) => taken.push(count));
for (const before of [FULL, undefined]) {
  if (before !== undefined) descriptor.write(fd, before);
  eventfd.signal(fd);
  while (taken.length === 0) await nextTurn();
  await turns();
  watched.push(taken);
  taken = [];
}

// And so does one whose count is gone when it comes to read.
const other = poller.watchReadable(fd, () => void eventfd.take(fd));
watch.close();
const late = poller.watchEventfd(fd, (count) => taken.push(count));
descriptor.write(fd, FULL);
eventfd.signal(fd);
await turns();
other.close();
taken = [];
eventfd.signal(fd);
while (taken.length === 0) await nextTurn();
late.close();
console.log(JSON.stringify({ empty, full, watched, takenFirst: taken }));
