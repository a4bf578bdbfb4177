// Receives with little processor time, frames of which each may wait five milliseconds for others: receive-paced.mjs TAP.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
// The queue holds what may come in that time.
const nic = await Nic.open({ tap, queueSize: 1024 });
const { rx } = nic;
const { pool } = rx;

console.log('ready');
for (;;) {
  const count = rx.reap();
  for (let i = 0; i < count; i++) pool.releaseFrame(rx.frames[i] ?? 0);
  if (count > 0) rx.refill();
  else await rx.ready({ within: 5 });
}
