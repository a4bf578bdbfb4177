// As uso.mjs, in the friendly tier: uso-batches.mjs TAP SEGMENTS sends super-frames.
import { Nic } from 'vhost-net';
import { HEADERS, SEGMENT, UDP_CHECKSUM, UDP_START, udpFrame } from '../udp-frame.mjs';

const [tap = 'tap0', segments = '44'] = process.argv.slice(2);
const nic = await Nic.open({ tap: { name: tap, offloads: true }, queueSize: 256, bufferSize: 65_600 });
const batch = new Array(16).fill(udpFrame(HEADERS + SEGMENT * Number(segments)));
const header = /** @type {const} */ ({
  needsChecksum: true,
  csumStart: UDP_START,
  csumOffset: UDP_CHECKSUM,
  gsoType: 'udp-l4',
  gsoSize: SEGMENT,
  headerLength: HEADERS,
});

console.log('ready');
for (;;) await nic.submit(batch, { header }).accepted;
