import type { LinkState } from '../../backend/backend.js';
import type { AddressMap } from '../../memory/address-map.js';
import type { ChainBatch } from './chain-batch.js';
import type { RequestPool } from './request-pool.js';

/** What a transmit port works with. */
export interface TransmitTerms {
  readonly batch: ChainBatch;
  readonly requests: RequestPool;
  /** More frames can be taken than before. */
  again(): void;
  /** A frame was refused, and completes all the same. */
  refused(): void;
  /** What is behind the port is gone: no frame reaches it any more. */
  gone(): void;
}

/** Where a queue's frames go. */
export interface TransmitPort {
  readonly linkState: LinkState;
  /**
   * Takes chains of the batch from the first on, each without its first `skip` bytes; how many. Those that it completes
   * later it marks as `deferred`.
   */
  transmit(memory: AddressMap, skip: number): number;
  /** Has `again` called when it takes more: the last time it took fewer than there were. */
  wait(): void;
  /** Takes no more; resolves when every request is finished. */
  close(): void | Promise<void>;
}

/** What a receive port works with. */
export interface ReceiveTerms {
  readonly batch: ChainBatch;
  /** There may be a frame to read. */
  readable(): void;
  /** A frame that is not read but handed over, without a header; false where there is no room for it. */
  deliver(frame: Uint8Array): boolean;
}

/** How reading ends. */
export type ReadEnd =
  /** There is nothing to read now. */
  | 'empty'
  /** A frame was there, which is lost. */
  | 'lost'
  /** The chain has more pieces than one read takes; the frame stays. */
  | 'segments'
  /** Nothing will come any more. */
  | 'gone';

/** Where a queue's frames come from. */
export interface ReceivePort {
  readonly linkState: LinkState;
  /**
   * Reads frames into the chains of the batch as `FramesSurface.read` does; how many results there are. Absent where frames
   * are only delivered.
   */
  readonly read?: (skip: number, need: number) => number;
  /** By frame: bytes, and the chains that they took, as `FramesSurface.read` tells. */
  readonly results: Int32Array;
  /** What of the last frame went beyond its chains. */
  readonly spill: Uint8Array;
  /** What a result of no bytes, or a refusal, means. */
  readonly ended?: (result: number) => ReadEnd;
  /** Has `readable` called while there is something to read, or not. */
  watch(on: boolean): void;
  /** Frames can be delivered again. */
  writable(): void;
  close(): void;
}
