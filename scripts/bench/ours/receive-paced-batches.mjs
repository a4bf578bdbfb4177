// As receive-paced.mjs, in the friendly tier.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 1024 });

let bytes = 0;
console.log('ready');
for await (const batch of nic.receive({ within: 5 })) for (const frame of batch) bytes += frame.length;
console.log(bytes);
