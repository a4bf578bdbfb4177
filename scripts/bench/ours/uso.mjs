// UDP to a tap as super-frames that the kernel cuts, or as ordinary frames: uso.mjs TAP SEGMENTS. The ring tier; a
// super-frame lies in one long buffer.
import { HEADER_SIZE, Nic } from 'vhost-net';
import { HEADERS, SEGMENT, UDP_CHECKSUM, UDP_START, udpFrame } from '../udp-frame.mjs';

const [tap = 'tap0', segments = '44'] = process.argv.slice(2);
const frame = udpFrame(HEADERS + SEGMENT * Number(segments));
const template = Buffer.concat([Buffer.alloc(HEADER_SIZE), frame]);
const bufferSize = template.length;
const nic = await Nic.open({ tap: { name: tap, offloads: true }, queueSize: 256, bufferSize });
const { tx } = nic;
const { pool } = tx;

if (Number(segments) > 1) {
  template[0] = 1; // NEEDS_CSUM
  template[1] = 5; // GSO_UDP_L4
  template.writeUInt16LE(HEADERS, 2);
  template.writeUInt16LE(SEGMENT, 4);
  template.writeUInt16LE(UDP_START, 6);
  template.writeUInt16LE(UDP_CHECKSUM, 8);
}

console.log('ready');
for (let round = 1; ; round++) {
  tx.reap();
  let posted = 0;
  for (let room = tx.ring.free; room > 0; room--, posted++) {
    const buffer = pool.lease();
    // Each payload is written anew, as a program would that has something to say.
    pool.bytes.set(template, pool.offset(buffer));
    pool.length[buffer] = bufferSize;
    tx.post(buffer);
  }
  if (posted > 0) tx.flush();
  if (round % 65_536 === 0) await new Promise((resolve) => setImmediate(resolve));
}
