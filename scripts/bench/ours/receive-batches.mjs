// The friendly tier at full speed: receive-batches.mjs TAP takes batches of frames and looks at each until it is ended.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: { driver: 1000 } });

let bytes = 0;
console.log('ready');
for await (const batch of nic.receive()) for (const frame of batch) bytes += frame.length;
console.log(bytes);
