// The ring tier at full speed: receive.mjs TAP takes frames and gives their buffers back until it is ended.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: { driver: 1000 } });
const { rx } = nic;
const { pool } = rx;

console.log('ready');
for (;;) {
  const count = rx.reap();
  for (let i = 0; i < count; i++) pool.releaseFrame(rx.frames[i] ?? 0);
  if (count > 0) rx.refill();
  else await rx.ready();
}
