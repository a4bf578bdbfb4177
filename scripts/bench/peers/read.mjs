// What Node does without vhost and without blocking: read.mjs TAP reads with fs.read, one frame at a time, for their order
// matters.
import { read } from 'node:fs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0'] = process.argv.slice(2);
const { fd } = openTapDescriptor(tap);
const frame = new Uint8Array(65_600);

function next() {
  read(fd, frame, 0, frame.length, null, (error) => {
    // The descriptor does not block; a program that has nothing else reads again.
    if (error && error.code !== 'EAGAIN') throw error;
    next();
  });
}

console.log('ready');
next();
