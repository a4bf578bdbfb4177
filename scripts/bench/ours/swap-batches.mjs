// The friendly tier: swap-batches.mjs TAP sends every frame back to where it came from.
import { Nic } from 'vhost-net';

const [tap = 'tap0'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: { driver: 1000 } });

console.log('ready');
for await (const batch of nic.receive()) {
  const frames = [...batch];
  for (const frame of frames) {
    const source = frame.slice(6, 12);
    frame.copyWithin(6, 0, 6);
    frame.set(source);
  }
  await nic.submit(frames).accepted;
}
