// A Nic that nothing happens on: idle.mjs TAP TIER.
import { Nic } from 'vhost-net';

const [tap = 'tap0', tier = 'ring'] = process.argv.slice(2);
const nic = await Nic.open({ tap });
console.log('ready');
if (tier === 'ring') await nic.rx.ready();
else for await (const batch of nic.receive()) console.log(batch.length);
throw new Error('something was received');
