// One frame there and its answer back: echo.mjs TAP HEX polling|sleeping. For each line of seconds on the standard
// input it sends the frame, waits for the answer, and so on; then it prints the percentiles in microseconds.
import { createInterface } from 'node:readline';
import { HEADER_SIZE, Nic } from 'vhost-net';

const [tap = 'tap0', hex = '', manner = 'polling'] = process.argv.slice(2);
const frame = Buffer.from(hex, 'hex');
const nic = await Nic.open({ tap, queueSize: 256 });
const { rx, tx, pool } = nic;
const times = new Float64Array(1 << 20);

function send() {
  const buffer = pool.lease();
  const at = pool.offset(buffer);
  pool.bytes.fill(0, at, at + HEADER_SIZE);
  pool.bytes.set(frame, at + HEADER_SIZE);
  pool.length[buffer] = HEADER_SIZE + frame.length;
  tx.post(buffer);
  tx.flush();
}

/** Gives the answer's buffers back and settles what was sent. @param {number} count */
function finish(count) {
  for (let i = 0; i < count; i++) pool.releaseFrame(rx.frames[i] ?? 0);
  rx.refill();
  tx.reap();
}

/** @param {number} seconds */
async function measure(seconds) {
  const end = performance.now() + seconds * 1000;
  let trips = 0;
  while (trips < times.length) {
    const sent = performance.now();
    if (sent > end) break;
    send();
    let answers = rx.reap();
    for (let looks = 1; answers === 0; looks++) {
      if (manner === 'sleeping') await rx.ready();
      else if (looks % 65_536 === 0 && performance.now() - sent > 5000) throw new Error('no answer');
      answers = rx.reap();
    }
    times[trips++] = (performance.now() - sent) * 1000;
    finish(answers);
  }
  const sorted = times.subarray(0, trips).sort();
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((part) => sorted[Math.floor(trips * part)]);
  return { count: trips, p50, p99, p999 };
}

console.log('ready');
for await (const line of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await measure(Number(line))));
