// How long Nic.open takes: open.mjs TAP prints the milliseconds, the first time and the best of ten more.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);

async function open() {
  const began = performance.now();
  const nic = await Nic.open({ tap });
  const milliseconds = performance.now() - began;
  await nic.close();
  return milliseconds;
}

const first = await open();
let best = first;
for (let i = 0; i < 10; i++) best = Math.min(best, await open());
console.log(JSON.stringify({ milliseconds: first, best }));
