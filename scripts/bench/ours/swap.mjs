// Sends every frame back to where it came from, out of the buffer it came in: swap.mjs TAP [DEVICE].
import { HEADER_SIZE, Nic } from 'vhost-net';

const [tap = 'tap0', vhost = '/dev/vhost-net'] = process.argv.slice(2);
// The worker has the same thread: it would wait for a program that looks at its rings.
const driver = vhost === 'worker' ? 0 : 1000;
const nic = await Nic.open({ tap, vhost, queueSize: 256, busyPoll: { driver } });
const { rx, tx, pool } = nic;
const { bytes } = pool;

/** @param {number} at where an Ethernet header begins */
function swapAddresses(at) {
  for (let i = at; i < at + 6; i++) {
    const byte = bytes[i] ?? 0;
    bytes[i] = bytes[i + 6] ?? 0;
    bytes[i + 6] = byte;
  }
}

console.log('ready');
for (;;) {
  tx.reap();
  rx.refill();
  const count = rx.reap();
  for (let i = 0; i < count; i++) {
    const first = rx.frames[i] ?? 0;
    swapAddresses(pool.offset(first) + HEADER_SIZE);
    // A full queue drops the frame, as a switch does.
    if (tx.post(first) === -1) pool.releaseFrame(first);
  }
  if (count > 0) tx.flush();
  else await rx.ready();
}
