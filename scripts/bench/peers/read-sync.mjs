// What Node does without vhost: read-sync.mjs TAP reads one frame after another with fs.readSync.
import { readSync } from 'node:fs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0'] = process.argv.slice(2);
const { fd } = openTapDescriptor(tap);
const frame = new Uint8Array(65_600);

console.log('ready');
for (;;) {
  try {
    readSync(fd, frame);
  } catch (error) {
    // The descriptor does not block; a program that has nothing else reads again.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EAGAIN') throw error;
  }
}
