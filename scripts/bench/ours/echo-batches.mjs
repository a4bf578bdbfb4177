// As echo.mjs, in the friendly tier: echo-batches.mjs TAP HEX MICROSECONDS.
import { Nic } from 'vhost-net';
import { isEchoReply } from '../icmp-echo.mjs';
import { answerWithTrips } from './trips.mjs';

const [tap = 'tap0', hex = '', polls = '0'] = process.argv.slice(2);
const frame = Buffer.from(hex, 'hex');
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: Number(polls) });
const batches = nic.receive();

async function answer() {
  for (;;) {
    const { value: batch } = await batches.next();
    for (const received of batch ?? []) if (isEchoReply(received, 0)) return;
  }
}

await answerWithTrips(async () => {
  await nic.send(frame);
  await answer();
});
