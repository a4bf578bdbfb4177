// As forward.mjs, in the friendly tier, which copies each frame from one side's buffers to the other's.
import { Nic } from 'vhost-net';

const [left = 'tap0', right = 'tap1'] = process.argv.slice(2);
const options = { queueSize: 256, bufferSize: 65_600 };
const tap = (/** @type {string} */ name) => ({ name, offloads: true });
const a = await Nic.open({ ...options, tap: tap(left) });
const b = await Nic.open({ ...options, tap: tap(right) });

/** @param {Nic} from @param {Nic} to */
async function carry(from, to) {
  for await (const batch of from.receive())
    for (let i = 0; i < batch.length; i++) await to.send(batch.frame(i), { header: batch.header(i) });
}

console.log('ready');
await Promise.all([carry(a, b), carry(b, a)]);
