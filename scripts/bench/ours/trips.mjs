import { createInterface } from 'node:readline';

const MOST = 1 << 20;

/**
 * For each line of seconds on the standard input makes trips for so long, and prints their number and the percentiles of
 * their microseconds.
 *
 * @param {() => Promise<void>} trip resolves when the answer is there
 * @param {() => void} [afterwards] makes ready for the next, outside of the time
 */
export async function answerWithTrips(trip, afterwards = () => {}) {
  const times = new Float64Array(MOST);
  console.log('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    const end = performance.now() + Number(line) * 1000;
    let count = 0;
    for (let sent = performance.now(); sent <= end && count < MOST; sent = performance.now()) {
      await trip();
      times[count++] = (performance.now() - sent) * 1000;
      afterwards();
    }
    const sorted = times.subarray(0, count).sort();
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((part) => sorted[Math.floor(count * part)]);
    console.log(JSON.stringify({ count, p50, p99, p999 }));
  }
}
