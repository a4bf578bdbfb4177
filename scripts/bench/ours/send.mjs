// The friendly tier at full speed: send.mjs TAP SIZE submits batches of frames until it is ended.
import { Nic } from 'vhost-net';
import { udpFrame } from '../udp-frame.mjs';

const [tap = 'tap0', size = '60'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: { driver: 1000 } });

const batch = new Array(64).fill(udpFrame(Number(size)));

console.log('ready');
for (;;) await nic.submit(batch).accepted;
