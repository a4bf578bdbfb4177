// What Node does without vhost and without blocking: write.mjs TAP SIZE AT_ONCE writes with fs.write, one frame at a time, or
// several where their order does not matter.
import { write } from 'node:fs';
import { udpFrame } from '../udp-frame.mjs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0', size = '60', atOnce = '1'] = process.argv.slice(2);
const { fd, header } = openTapDescriptor(tap);
const frame = Buffer.concat([Buffer.alloc(header), udpFrame(Number(size))]);

/** @param {Error | null} [error] */
function next(error) {
  if (error) throw error;
  write(fd, frame, next);
}

console.log('ready');
for (let i = 0; i < Number(atOnce); i++) next();
