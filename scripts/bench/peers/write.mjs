// What Node does without vhost and without blocking: write.mjs TAP SIZE writes with fs.write, one frame at a time.
import { write } from 'node:fs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0', size = '60'] = process.argv.slice(2);
const { fd, header } = openTapDescriptor(tap);
const frame = new Uint8Array(header + Number(size));
frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 0x88, 0xb5], header);

/** @param {Error | null} [error] */
function next(error) {
  if (error) throw error;
  write(fd, frame, next);
}

console.log('ready');
next();
