// What a million frames at the ring tier leave on the heap: heap.mjs TAP. Prints bytes, and collections in between.
import { PerformanceObserver } from 'node:perf_hooks';
import { HEADER_SIZE, Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256 });
const { tx } = nic;
const { pool } = tx;
const frame = new Uint8Array(HEADER_SIZE + 60);
frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 0x88, 0xb5], HEADER_SIZE);

/** @param {number} frames */
function send(frames) {
  for (let sent = 0; sent < frames; ) {
    tx.reap();
    let room = tx.ring.free;
    if (room === 0) continue;
    for (; room > 0; room--, sent++) {
      const buffer = pool.lease();
      pool.bytes.set(frame, pool.offset(buffer));
      pool.length[buffer] = frame.length;
      tx.post(buffer);
    }
    tx.flush();
  }
}

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });

const FRAMES = 200_000;
send(FRAMES);
await new Promise((resolve) => setTimeout(resolve, 200));
collections = 0;
const before = process.memoryUsage().heapUsed;
send(FRAMES);
const bytes = process.memoryUsage().heapUsed - before;
await new Promise((resolve) => setTimeout(resolve, 200));
console.log(JSON.stringify({ bytes: Math.round((bytes / FRAMES) * 1e6), collections }));
await nic.close();
