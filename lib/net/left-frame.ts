import { VhostError } from '../errors/errors.js';
import type { FramePool } from '../memory/frame-pool.js';
import type { DriverRing } from '../vring/driver-ring.js';

/** The buffers of a chain that another driver left in flight, and how much of each it takes. */
export interface LeftFrame {
  readonly buffers: readonly number[];
  /** Bytes. */
  readonly lengths: readonly number[];
}

/** Reads a chain in flight; ERR_VHOST_RING_CORRUPT where it is not made of whole buffers of the pool. */
export function leftFrame(ring: DriverRing, pool: FramePool, head: number): LeftFrame {
  const pieces = ring.pieces(head);
  const buffers = pieces.map(({ guestPhysicalAddress }) => pool.bufferAt(guestPhysicalAddress));
  if (buffers.length === 0 || buffers.includes(-1) || pieces.some(({ length }) => length > pool.bufferSize))
    throw new VhostError('ERR_VHOST_RING_CORRUPT', `the chain of head ${head} lies outside the buffers`);
  return { buffers, lengths: pieces.map(({ length }) => length) };
}
