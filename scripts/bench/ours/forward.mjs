// A cable of Node between two taps: forward.mjs LEFT RIGHT. Frames leave from the very buffers they came in, for both
// sides share one memory; segments of up to 64 KiB pass whole, their headers with them.
import { Nic } from 'vhost-net';

const [left = 'tap0', right = 'tap1'] = process.argv.slice(2);
const options = { queueSize: 256, bufferSize: 65_600 };
const tap = (/** @type {string} */ name) => ({ name, offloads: true });
const a = await Nic.open({ ...options, buffers: 1024, tap: tap(left) });
const b = await Nic.open({ ...options, shared: a, tap: tap(right) });

/** Carries what comes in at one side out at the other. @param {Nic} from @param {Nic} to */
async function carry({ rx }, { tx }) {
  for (let rounds = 1; ; rounds++) {
    const count = rx.reap(64);
    for (let i = 0; i < count; i++) {
      const first = rx.frames[i] ?? 0;
      // A full queue drops the frame, as a switch does; TCP slows down.
      if (tx.post(first) === -1) tx.pool.releaseFrame(first);
    }
    if (count > 0) tx.flush();
    tx.reap();
    rx.refill();
    if (count === 0) await rx.ready();
    // The other side has its turn, however much comes from this one.
    else if (rounds % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

console.log('ready');
await Promise.all([carry(a, b), carry(b, a)]);
