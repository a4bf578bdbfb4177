/**
 * Has frames leave through the ring tier and come back through it, and prints by how many bytes the heap grew and which
 * collections there were meanwhile. It runs with a young generation so large that none is due: growth is then all that was
 * allocated.
 */
import { type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { HEADER_SIZE } from '../../../lib/index.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { turn } from '../../support/until.js';

const [name, frames] = [process.argv[2]!, Number(process.argv[3])];
/** Frames shown to the device at once. */
const BATCH = 64;
/** Frames under way at once: fewer than the tap's queue holds, so that none is dropped. */
const WINDOW = 512;
/** So many that the bytes of the receive buffers pass 2^31, where V8 keeps numbers in another form, while they are measured. */
const BUFFER_SIZE = 4096;
/** One frame of so many takes two buffers: an indirect table on its way out, a merged frame on its way in. */
const LONG_EVERY = 16;
/** Until the compiler has settled on what it knows of the code. */
const WARM_UP = 200_000;

const namespace = Namespace.enter(name);
const nic = await namespace.nic('tap-a', { tap: { mtu: 2 * BUFFER_SIZE }, bufferSize: BUFFER_SIZE });
// What comes out of the tap goes into it again.
namespace.run('tc', 'qdisc', 'add', 'dev', 'tap-a', 'clsact');
const redirect = ['action', 'mirred', 'egress', 'redirect', 'dev', 'tap-a'];
namespace.run('tc', 'filter', 'add', 'dev', 'tap-a', 'ingress', 'matchall', ...redirect);

const { tx, rx, pool } = nic;
const short = new NumberedFrames(60, 'a', 'b');
const long = new NumberedFrames(BUFFER_SIZE + 60, 'a', 'b');

/** Posts the frame of a number; false where there is no room for it. */
function post(number: number): boolean {
  const { length } = number % LONG_EVERY === 0 ? long : short;
  const first = pool.lease();
  if (first === -1) return false;
  const start = pool.offset(first);
  pool.bytes.fill(0, start, start + HEADER_SIZE);
  // A long frame begins like a short one; what else its buffers bear does not matter.
  short.write(number, pool.bytes, start + HEADER_SIZE);
  pool.length[first] = Math.min(HEADER_SIZE + length, BUFFER_SIZE);
  if (length > short.length) {
    const second = pool.lease();
    if (second === -1) {
      pool.release(first);
      return false;
    }
    pool.next[first] = second;
    pool.length[second] = HEADER_SIZE + length - BUFFER_SIZE;
  }
  if (tx.post(first) !== -1) return true;
  pool.releaseFrame(first);
  return false;
}

/** Carries so many frames out and in, as the ring tier is meant to be used. */
function carry(total: number): void {
  let posted = 0;
  let done = 0;
  let received = 0;
  while (done < total || received < total) {
    const most = Math.min(posted + BATCH, received + WINDOW, total);
    const before = posted;
    while (posted < most && post(posted)) posted++;
    if (posted > before) tx.flush();
    done += tx.reap();
    const count = rx.reap();
    for (let i = 0; i < count; i++) pool.releaseFrame(rx.frames[i]!);
    if (count > 0) rx.refill();
    received += count;
  }
}

const collections: PerformanceEntry[] = [];
const observer = new PerformanceObserver((list) => collections.push(...list.getEntries()));
observer.observe({ entryTypes: ['gc'] });

carry(WARM_UP);
const began = performance.now();
const before = getHeapStatistics().used_heap_size;
carry(frames);
const growth = getHeapStatistics().used_heap_size - before;
const ended = performance.now();
// The observer hears of collections when the loop has a turn, which may begin others.
for (let i = 0; i < 3; i++) await turn();
observer.disconnect();
const { transmit, receive } = nic.stats();
await nic.close();
console.log(
  JSON.stringify({
    growth,
    collections: collections.filter(({ startTime }) => startTime >= began && startTime <= ended),
    sent: transmit.completed - WARM_UP,
    received: receive.frames - WARM_UP,
    merged: receive.completed - receive.frames,
    inFlight: transmit.inFlight,
  }),
);
