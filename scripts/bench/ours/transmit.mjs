// The ring tier at full speed: transmit.mjs TAP SIZE [PAIRS] [IN_FLIGHT] sends frames of SIZE bytes until it is ended, on
// PAIRS queue pairs, with at most IN_FLIGHT of them in flight on each.
import { HEADER_SIZE, Nic } from 'vhost-net';
import { udpFrame } from '../udp-frame.mjs';

const [tap = 'tap0', size = '60', pairs = '1', inFlight = '256'] = process.argv.slice(2);
const most = Number(inFlight);
const nic = await Nic.open({
  tap,
  queuePairs: Number(pairs),
  queueSize: { receive: 256, transmit: Math.max(256, most) },
});
const { pool } = nic;

const frame = Buffer.concat([Buffer.alloc(HEADER_SIZE), udpFrame(Number(size))]);

/** @param {import('vhost-net').TransmitQueue} tx */
function fill(tx) {
  for (let room = most - tx.ring.inFlight; room > 0; room--) {
    const buffer = pool.lease();
    pool.bytes.set(frame, pool.offset(buffer));
    pool.length[buffer] = frame.length;
    tx.post(buffer);
  }
  tx.flush();
}

console.log('ready');
for (let round = 1; ; round++) {
  for (const { tx } of nic.pairs) if (tx.reap() > 0 || tx.ring.inFlight === 0) fill(tx);
  // Timers and signals have their turn now and then.
  if (round % 65_536 === 0) await new Promise((resolve) => setImmediate(resolve));
}
