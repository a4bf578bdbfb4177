// What a million frames at the ring tier allocate: heap.mjs transmit|receive TAP. Once a line comes, measures and prints the
// bytes, and the collections meanwhile.
import { once } from 'node:events';
import { PerformanceObserver } from 'node:perf_hooks';
import { HEADER_SIZE, Nic } from 'vhost-net';
import { udpFrame } from '../udp-frame.mjs';

// Until the compiler has settled, whose code is on the heap too.
const WARM_UP = 1_000_000;
const FRAMES = 1_000_000;
const [way = 'transmit', tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256 });
const { tx, rx, pool } = nic;
const frame = Buffer.concat([Buffer.alloc(HEADER_SIZE), udpFrame(60)]);

/** @param {number} frames */
function transmit(frames) {
  for (let sent = 0; sent < frames; ) {
    tx.reap();
    const room = Math.min(tx.ring.free, frames - sent);
    for (let i = 0; i < room; i++) {
      const buffer = pool.lease();
      pool.bytes.set(frame, pool.offset(buffer));
      pool.length[buffer] = frame.length;
      tx.post(buffer);
    }
    if (room > 0) tx.flush();
    sent += room;
  }
}

/** @param {number} frames */
function receive(frames) {
  for (let received = 0; received < frames; ) {
    const count = rx.reap();
    for (let i = 0; i < count; i++) pool.releaseFrame(rx.frames[i] ?? 0);
    if (count > 0) rx.refill();
    received += count;
  }
}

/** @type {number[]} */
const collections = [];
const observer = new PerformanceObserver((list) => {
  for (const { startTime } of list.getEntries()) collections.push(startTime);
});
observer.observe({ entryTypes: ['gc'] });
/** Collections are told in a later turn of the loop, where there may be more of them. */
const told = () => new Promise((resolve) => setTimeout(resolve, 200));

console.log('ready');
await once(process.stdin, 'data');
const move = way === 'transmit' ? transmit : receive;
move(WARM_UP);
await told();
const before = process.memoryUsage().heapUsed;
const begin = performance.now();
move(FRAMES);
const end = performance.now();
const bytes = process.memoryUsage().heapUsed - before;
await told();
const meanwhile = collections.filter((start) => start >= begin && start <= end);
console.log(JSON.stringify({ bytes, collections: meanwhile.length }));
await nic.close();
