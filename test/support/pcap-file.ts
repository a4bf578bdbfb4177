import { readFileSync } from 'node:fs';

const FILE_HEADER = 24;
const FRAME_HEADER = 16;
/** In the header of a frame: how many of its bytes follow. */
const KEPT = 8;

/** The frames of a capture file of libpcap, written on a machine like this one. */
export function* framesOf(path: string): Generator<Uint8Array> {
  const bytes = readFileSync(path);
  for (let at = FILE_HEADER; at < bytes.length; ) {
    const start = at + FRAME_HEADER;
    at = start + bytes.readUInt32LE(at + KEPT);
    yield bytes.subarray(start, at);
  }
}
