// A cable of Node between two taps: forward.mjs LEFT RIGHT. Frames leave from the very buffers they came in, for both
// sides share one memory; segments of up to 64 KiB pass whole, their headers with them.
import { Nic } from 'vhost-net';

const [left = 'tap0', right = 'tap1'] = process.argv.slice(2);
const options = { queueSize: 256, bufferSize: 65_600 };
const tap = (/** @type {string} */ name) => ({ name, offloads: true });
const a = await Nic.open({ ...options, buffers: 1024, tap: tap(left) });
const b = await Nic.open({ ...options, shared: a, tap: tap(right) });

/** @param {Nic} from @param {Nic} to */
async function carry(from, to) {
  const { rx } = from;
  const { tx } = to;
  for (;;) {
    tx.reap();
    rx.refill();
    const count = rx.reap(64);
    for (let i = 0; i < count; i++) {
      const first = rx.frames[i] ?? 0;
      if (tx.post(first) === -1) tx.pool.releaseFrame(first);
    }
    if (count > 0) tx.flush();
    else await rx.ready();
  }
}

console.log('ready');
await Promise.all([carry(a, b), carry(b, a)]);
