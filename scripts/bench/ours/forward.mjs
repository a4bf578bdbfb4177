// A cable of Node between two taps: forward.mjs LEFT RIGHT [POLLS]. Frames leave from the very buffers they came in,
// for both sides share one memory; segments of up to 64 KiB pass whole, their headers with them. POLLS is how often it
// looks in vain before it sleeps: more for a processor of its own, none where others need it.
import { Nic } from 'vhost-net';

const [left = 'tap0', right = 'tap1', polls = '0'] = process.argv.slice(2);
const options = { queueSize: 256, bufferSize: 65_600 };
const tap = (/** @type {string} */ name) => ({ name, offloads: true });
const a = await Nic.open({ ...options, buffers: 1024, tap: tap(left) });
const b = await Nic.open({ ...options, shared: a, tap: tap(right) });

/** Moves what is there; how many frames. @param {Nic} from @param {Nic} to */
function carry({ rx }, { tx }) {
  const count = rx.reap(64);
  for (let i = 0; i < count; i++) {
    const first = rx.frames[i] ?? 0;
    // A full queue drops the frame, as a switch does; TCP slows down.
    if (tx.post(first) === -1) tx.pool.releaseFrame(first);
  }
  if (count > 0) tx.flush();
  if (tx.reap() + count > 0) rx.refill();
  return count;
}

/** Sleeps until one of the two calls. */
async function sleep() {
  const other = new AbortController();
  const waits = [a, b].map(({ rx }) => rx.ready({ signal: other.signal }));
  await Promise.race(waits);
  other.abort();
  await Promise.allSettled(waits);
}

console.log('ready');
for (let idle = 0, rounds = 1; ; rounds++) {
  idle = carry(a, b) + carry(b, a) > 0 ? 0 : idle + 1;
  if (idle > Number(polls)) {
    idle = 0;
    await sleep();
  } else if (rounds % 4096 === 0) await new Promise((resolve) => setImmediate(resolve));
}
