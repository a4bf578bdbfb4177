// The friendly tier at full speed: receive-batches.mjs TAP takes batches of frames until it is ended.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: { driver: 1000 } });

let frames = 0;
console.log('ready');
for await (const batch of nic.receive()) frames += batch.length;
console.log(frames);
