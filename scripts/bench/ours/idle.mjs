// A Nic that nothing happens on: idle.mjs TAP.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap });
console.log('ready');
for await (const batch of nic.receive()) console.log(batch.length);
