// The ring tier at full speed: transmit.mjs TAP SIZE sends frames of SIZE bytes until it is ended.
import { HEADER_SIZE, Nic } from 'vhost-net';

const [tap = 'tap0', size = '60'] = process.argv.slice(2);
const nic = await Nic.open({ tap, queueSize: 256 });
const { tx } = nic;
const { pool } = tx;

const frame = new Uint8Array(HEADER_SIZE + Number(size));
frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 0x88, 0xb5], HEADER_SIZE);

/** Fills the queue once; how many frames it took. */
function fill() {
  let posted = 0;
  for (let room = tx.ring.free; room > 0; room--, posted++) {
    const buffer = pool.lease();
    pool.bytes.set(frame, pool.offset(buffer));
    pool.length[buffer] = frame.length;
    tx.post(buffer);
  }
  tx.flush();
  return posted;
}

console.log('ready');
for (let round = 1; ; round++) {
  if (tx.reap() > 0) fill();
  else if (tx.ring.inFlight === 0) fill();
  // Timers and signals have their turn now and then.
  if (round % 65_536 === 0) await new Promise((resolve) => setImmediate(resolve));
}
