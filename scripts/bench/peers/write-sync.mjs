// What Node does without vhost: write-sync.mjs TAP SIZE writes one frame after another with fs.writeSync.
import { writeSync } from 'node:fs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0', size = '60'] = process.argv.slice(2);
const { fd, header } = openTapDescriptor(tap);
const frame = new Uint8Array(header + Number(size));
frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 0x88, 0xb5], header);

console.log('ready');
for (;;) writeSync(fd, frame);
