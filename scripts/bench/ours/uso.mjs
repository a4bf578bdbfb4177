// UDP to a tap as super-frames that the kernel cuts into 44 datagrams, or as frames of 1,514 bytes: uso.mjs TAP
// super|plain. The ring tier; a super-frame lies in one long buffer.
import { HEADER_SIZE, Nic } from 'vhost-net';

const [tap = 'tap0', manner = 'super'] = process.argv.slice(2);
const SEGMENT = 1472;
const HEADERS = 14 + 20 + 8;
const segments = manner === 'super' ? 44 : 1;
const payload = SEGMENT * segments;
const bufferSize = HEADER_SIZE + HEADERS + payload;
const nic = await Nic.open({ tap: { name: tap, offloads: true }, queueSize: 256, bufferSize });
const { tx } = nic;
const { pool } = tx;

const template = Buffer.alloc(bufferSize);
if (segments > 1) {
  template[0] = 1; // NEEDS_CSUM
  template[1] = 5; // GSO_UDP_L4
  template.writeUInt16LE(HEADERS, 2);
  template.writeUInt16LE(SEGMENT, 4);
  template.writeUInt16LE(34, 6);
  template.writeUInt16LE(6, 8);
}
const frame = template.subarray(HEADER_SIZE);
frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 8, 0]);
frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 97, 0, 2, 10, 97, 0, 1], 14);
frame.writeUInt16BE(28 + payload, 16);
frame.set([0x10, 0, 0x20, 0], 34);
frame.writeUInt16BE(8 + payload, 38);

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
