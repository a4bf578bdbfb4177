import { VhostRangeError } from '../errors/errors.js';
import type { FramePool } from '../memory/frame-pool.js';
import { clearHeader, HEADER_SIZE, type NetHeader, writeHeader } from './header.js';

/**
 * Copies a frame and its header into leased buffers; the first of them, or -1 where too few are free. Throws where it
 * would take more than `most`, which may never be free.
 */
export function writeFrame(
  pool: FramePool,
  frame: Uint8Array,
  header: NetHeader | undefined,
  most: number,
): number {
  const total = HEADER_SIZE + frame.length;
  const buffers = Math.ceil(total / pool.bufferSize);
  if (buffers > most)
    throw new VhostRangeError(
      `a frame of ${frame.length} bytes takes ${buffers} buffers of ${pool.bufferSize} bytes; reception leaves ${most}`,
    );
  if (buffers > pool.free) return -1;
  const first = pool.lease();
  try {
    const start = pool.offset(first);
    if (header === undefined) clearHeader(pool.bytes, start);
    else writeHeader(pool.bytes, start, header);
  } catch (error) {
    pool.release(first);
    throw error;
  }
  let buffer = first;
  let room = pool.bufferSize - HEADER_SIZE;
  let from = 0;
  for (;;) {
    const end = Math.min(from + room, frame.length);
    const piece = from === 0 && end === frame.length ? frame : frame.subarray(from, end);
    pool.bytes.set(piece, pool.offset(buffer) + pool.bufferSize - room);
    pool.length[buffer] = pool.bufferSize - room + piece.length;
    if (end === frame.length) return first;
    from = end;
    room = pool.bufferSize;
    const next = pool.lease();
    pool.next[buffer] = next;
    buffer = next;
  }
}
