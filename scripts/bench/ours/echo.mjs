// One frame there and its answer back: echo.mjs TAP HEX MICROSECONDS. Both sides poll for so long before they sleep. For
// each line of seconds on the standard input it sends the frame, waits for the answer, and so on.
import { HEADER_SIZE, Nic } from 'vhost-net';
import { isEchoReply } from '../icmp-echo.mjs';
import { answerWithTrips } from './trips.mjs';

const [tap = 'tap0', hex = '', polls = '0'] = process.argv.slice(2);
const frame = Buffer.from(hex, 'hex');
const nic = await Nic.open({ tap, queueSize: 256, busyPoll: Number(polls) });
const { rx, tx, pool } = nic;
const { bytes } = pool;

function send() {
  const buffer = pool.lease();
  const at = pool.offset(buffer);
  bytes.fill(0, at, at + HEADER_SIZE);
  bytes.set(frame, at + HEADER_SIZE);
  pool.length[buffer] = HEADER_SIZE + frame.length;
  tx.post(buffer);
  tx.flush();
}

/** Takes what came; whether the answer was among it. */
function takeAnswer() {
  let answered = false;
  for (let count = rx.reap(); count > 0; count--) {
    const first = rx.frames[count - 1] ?? 0;
    answered ||= isEchoReply(bytes, pool.offset(first) + HEADER_SIZE);
    pool.releaseFrame(first);
  }
  return answered;
}

await answerWithTrips(
  async () => {
    send();
    while (!takeAnswer()) await rx.ready();
  },
  () => {
    rx.refill();
    tx.reap();
  },
);
