// What Node does without vhost: write-sync.mjs TAP SIZE writes one frame after another with fs.writeSync.
import { writeSync } from 'node:fs';
import { udpFrame } from '../udp-frame.mjs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0', size = '60'] = process.argv.slice(2);
const { fd, header } = openTapDescriptor(tap);
const frame = Buffer.concat([Buffer.alloc(header), udpFrame(Number(size))]);

console.log('ready');
for (;;) writeSync(fd, frame);
