// What Node does without vhost and without blocking: swap.mjs TAP sends every frame back to where it came from, with
// fs.read and fs.write.
import { read, write } from 'node:fs';
import { openTapDescriptor } from './open-tap.mjs';

const [tap = 'tap0'] = process.argv.slice(2);
const { fd, header } = openTapDescriptor(tap);
const frame = new Uint8Array(65_600);

function next() {
  read(fd, frame, 0, frame.length, null, (error, length) => {
    // The descriptor does not block; a program that has nothing else reads again.
    if (error?.code === 'EAGAIN') return next();
    if (error) throw error;
    const source = frame.slice(header + 6, header + 12);
    frame.copyWithin(header + 6, header, header + 6);
    frame.set(source, header);
    write(fd, frame, 0, length, null, (failure) => {
      if (failure) throw failure;
      next();
    });
  });
}

console.log('ready');
next();
