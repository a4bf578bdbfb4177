// The friendly tier: swap-batches.mjs TAP [DEVICE] sends every frame back to where it came from.
import { Nic } from 'vhost-net';

const [tap = 'tap0', vhost = '/dev/vhost-net'] = process.argv.slice(2);
// The worker has the same thread: it would wait for a program that looks at its rings.
const driver = vhost === 'worker' ? 0 : 1000;
const nic = await Nic.open({ tap, vhost, queueSize: 256, busyPoll: { driver } });

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
