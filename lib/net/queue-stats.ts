import type { LinkState } from '../backend/backend.js';
import type { Ledger } from '../completion/ledger.js';
import type { DriverRing } from '../vring/driver-ring.js';

/** Microseconds from submission to completion, over batches submitted together. */
export interface LatencyStats {
  readonly count: number;
  readonly min: number;
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A snapshot of one queue. `submitted` = `completed` + `abandoned` + `inFlight`. */
export interface QueueStats {
  /** Descriptors. */
  readonly size: number;
  /** When the device is done with a frame; see `Backend.linkState`. */
  readonly linkState: LinkState;
  /** Frames on transmission, buffers on reception. */
  readonly submitted: number;
  readonly completed: number;
  readonly abandoned: number;
  readonly inFlight: number;
  readonly maxInFlight: number;
  readonly bytesSubmitted: number;
  readonly bytesCompleted: number;
  readonly bytesInFlight: number;
  /** Completions that came before that of a frame submitted earlier. */
  readonly outOfOrder: number;
  /** Times the device was woken, and published batches for which it asked not to be. */
  readonly kicks: number;
  readonly kicksSuppressed: number;
  /** Calls that the device signalled, and times that they woke the loop. */
  readonly calls: number;
  readonly wakeups: number;
  /** Times a frame found no room. */
  readonly fullWaits: number;
  /** By power of two: completions that came in batches of 2^i up to 2^(i+1) - 1. */
  readonly batchSizes: readonly number[];
  readonly latency: LatencyStats;
  /** Errors of the queue by code. */
  readonly errors: Readonly<Record<string, number>>;
}

/** What a queue's events count. */
export interface QueueEvents {
  calls: number;
  wakeups: number;
  readonly errors: Record<string, number>;
}

export function queueStats(
  queue: { readonly ring: DriverRing; readonly ledger: Ledger; readonly kicks: number },
  events: QueueEvents,
  linkState: LinkState,
  fullWaits: number,
): QueueStats {
  const { ring, ledger } = queue;
  const { latency } = ledger;
  const recorded = latency.count > 0;
  return {
    size: ring.size,
    linkState,
    submitted: ledger.submitted,
    completed: ledger.completed,
    abandoned: ledger.abandoned,
    inFlight: ledger.inFlight,
    maxInFlight: ledger.maxInFlight,
    bytesSubmitted: ledger.bytesSubmitted,
    bytesCompleted: ledger.bytesCompleted,
    bytesInFlight: ledger.bytesInFlight,
    outOfOrder: ledger.outOfOrder,
    kicks: queue.kicks,
    kicksSuppressed: ring.kicksSuppressed,
    calls: events.calls,
    wakeups: events.wakeups,
    fullWaits,
    batchSizes: Array.from(ledger.batchSizes),
    latency: {
      count: latency.count,
      min: recorded ? latency.min : 0,
      mean: recorded ? latency.mean : 0,
      p50: recorded ? latency.percentile(50) : 0,
      p99: recorded ? latency.percentile(99) : 0,
      max: recorded ? latency.max : 0,
    },
    errors: { ...events.errors },
  };
}
