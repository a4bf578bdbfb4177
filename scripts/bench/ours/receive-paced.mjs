// Receives with little processor time: receive-paced.mjs TAP. While frames keep coming it looks every five milliseconds and
// wants no calls; once none came it sleeps until the device calls. A frame that ends a silence is seen at once.
import { setTimeout as sleep } from 'node:timers/promises';
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
  if (count === 0) {
    await rx.ready();
    continue;
  }
  rx.refill();
  if (count < rx.ring.size / 4) await sleep(5);
}
