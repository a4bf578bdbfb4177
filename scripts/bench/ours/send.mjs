// The friendly tier at full speed: send.mjs TAP SIZE submits batches of frames until it is ended.
import { Nic } from 'vhost-net';

const [tap = 'tap0', size = '60'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: { driver: 1000 } });

const frame = new Uint8Array(Number(size));
frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 0x88, 0xb5]);
const batch = new Array(64).fill(frame);

console.log('ready');
for (;;) await nic.submit(batch).accepted;
