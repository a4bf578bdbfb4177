import type { NetHeader } from './header.js';
import { HEADER_SIZE, readHeader } from './header.js';
import { leftFrame } from './left-frame.js';
import type { QueuePair } from './queue-pair.js';
import type { TransmitQueue } from './transmit-queue.js';

/** What is done with frames that were in flight when a `Nic` was left. */
export type InFlight = 'replay' | 'report';

/** A frame that was in flight; a copy. */
export interface ReportedFrame {
  readonly frame: Uint8Array;
  readonly header: Required<NetHeader>;
}

/** What a `Nic` that was resumed had found. */
export interface Resumed {
  /** Frames that the device had returned and nobody had reaped: they are done. */
  readonly completed: number;
  /** Frames that the device had not returned, and is given again. */
  readonly replayed: number;
  /** Frames that the device had not returned, and is not given again: they may or may not have been sent. */
  readonly reported: readonly ReportedFrame[];
  /** Receive buffers of frames that the one before was taking when it ended: what was in them is lost. */
  readonly lostBuffers: number;
}

/** Decides on what is in flight on pairs that were taken over, before a device is attached to them. */
export function settleInFlight(pairs: readonly QueuePair[], inFlight: InFlight): Resumed {
  let completed = 0;
  let replayed = 0;
  let lostBuffers = 0;
  const reported: ReportedFrame[] = [];
  for (const { transmit, lostBuffers: lost } of pairs) {
    lostBuffers += lost;
    for (let count = transmit.reap(); count > 0; count = transmit.reap()) completed += count;
    if (inFlight === 'replay') replayed += transmit.ledger.inFlight;
    else {
      for (const head of transmit.ring.headsInFlight) reported.push(copyFrame(transmit, head));
      transmit.settle();
    }
  }
  return { completed, replayed, reported, lostBuffers };
}

function copyFrame({ ring, pool }: TransmitQueue, head: number): ReportedFrame {
  const { buffers, lengths } = leftFrame(ring, pool, head);
  const pieces = buffers.map((buffer, i) => {
    const start = pool.offset(buffer);
    return pool.bytes.subarray(start + (i === 0 ? HEADER_SIZE : 0), start + lengths[i]!);
  });
  return { frame: Buffer.concat(pieces), header: readHeader(pool.bytes, pool.offset(buffers[0]!)) };
}
