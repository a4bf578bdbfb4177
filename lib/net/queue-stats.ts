import { createHistogram, type Histogram } from 'node:perf_hooks';
import type { LinkState } from '../backend/backend.js';
import { LATENCY_RANGE, type Ledger } from '../completion/ledger.js';
import type { DriverRing } from '../vring/driver-ring.js';

/**
 * Microseconds from submission to completion: one for each stretch of completions in a row that were submitted together.
 * The friendly tier times all; of what the ring tier submits, one batch in 4,096 frames.
 */
export interface LatencyStats {
  readonly count: number;
  readonly min: number;
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * A snapshot of one queue, or of those of several pairs, counted since the `Nic` was opened.
 * `submitted` = `completed` + `abandoned` + `inFlight`. Bytes include the 12 of the virtio-net header; of reception those of
 * whole buffers, as they were posted.
 */
export interface QueueStats {
  /** Descriptors. */
  readonly size: number;
  /** When the device is done with a frame; see `LinkState`. A `WorkerVhost` copies what it sends into a descriptor. */
  readonly linkState: LinkState;
  /** Frames on transmission, buffers on reception, that the device was given. */
  readonly submitted: number;
  /** Of those, what it returned. */
  readonly completed: number;
  /** Of those, what it had when it was stopped or closed, and will not return. */
  readonly abandoned: number;
  /** Of the abandoned, those that the device had taken and never returned. */
  readonly lost: number;
  /** Of those, what it has now. */
  readonly inFlight: number;
  /** The most that were in flight at once; of several pairs, the sum of each one's most. */
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
  /** Times that frames had to wait for room in the ring or in the pool, or `trySend` found none. The ring tier counts none. */
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

export function queueEvents(): QueueEvents {
  return { calls: 0, wakeups: 0, errors: {} };
}

/** Where the counters of one queue stand. */
export interface QueueSource {
  readonly queue: {
    readonly ring: DriverRing;
    readonly ledger: Ledger;
    readonly kicks: number;
    readonly lost: number;
  };
  readonly events: QueueEvents;
  readonly fullWaits: number;
}

/** Where the counters of a pair stand. */
export interface PairSource {
  readonly receive: QueueSource & {
    readonly queue: { readonly frameCount: number; readonly byteCount: number };
  };
  readonly transmit: QueueSource;
  /** Of transmission. */
  readonly linkState: LinkState;
}

/** A snapshot of both queues of a pair, or of those of several pairs; `receive` counts buffers and, beside them, frames. */
export interface PairStats {
  /** `bytes` are those of the frames that came, headers included. */
  readonly receive: QueueStats & { readonly frames: number; readonly bytes: number };
  readonly transmit: QueueStats;
}

/** The counters of one pair, or the sums of several on one backend. */
export function pairStats(pairs: readonly PairSource[]): PairStats {
  const receive = pairs.map((pair) => pair.receive);
  return {
    receive: {
      // Reception never waits for the network stack: the kernel copies into the buffer and returns it.
      ...queueStats(receive, 'sync'),
      frames: sum(receive, ({ queue }) => queue.frameCount),
      bytes: sum(receive, ({ queue }) => queue.byteCount),
    },
    transmit: queueStats(
      pairs.map(({ transmit }) => transmit),
      pairs[0]!.linkState,
    ),
  };
}

function queueStats(sources: readonly QueueSource[], linkState: LinkState): QueueStats {
  const ledgers = sources.map(({ queue }) => queue.ledger);
  return {
    size: sum(sources, ({ queue }) => queue.ring.size),
    linkState,
    submitted: sum(ledgers, ({ submitted }) => submitted),
    completed: sum(ledgers, ({ completed }) => completed),
    abandoned: sum(ledgers, ({ abandoned }) => abandoned),
    lost: sum(sources, ({ queue }) => queue.lost),
    inFlight: sum(ledgers, ({ inFlight }) => inFlight),
    maxInFlight: sum(ledgers, ({ maxInFlight }) => maxInFlight),
    bytesSubmitted: sum(ledgers, ({ bytesSubmitted }) => bytesSubmitted),
    bytesCompleted: sum(ledgers, ({ bytesCompleted }) => bytesCompleted),
    bytesInFlight: sum(ledgers, ({ bytesInFlight }) => bytesInFlight),
    outOfOrder: sum(ledgers, ({ outOfOrder }) => outOfOrder),
    kicks: sum(sources, ({ queue }) => queue.kicks),
    kicksSuppressed: sum(sources, ({ queue }) => queue.ring.kicksSuppressed),
    calls: sum(sources, ({ events }) => events.calls),
    wakeups: sum(sources, ({ events }) => events.wakeups),
    fullWaits: sum(sources, ({ fullWaits }) => fullWaits),
    batchSizes: Array.from(ledgers[0]!.batchSizes, (_, i) => sum(ledgers, (ledger) => ledger.batchSizes[i]!)),
    latency: latencyStats(ledgers),
    errors: countErrors(sources),
  };
}

function sum<T>(items: readonly T[], count: (item: T) => number): number {
  return items.reduce((total, item) => total + count(item), 0);
}

function latencyStats(ledgers: readonly Ledger[]): LatencyStats {
  let all: Histogram = ledgers[0]!.latency;
  if (ledgers.length > 1) {
    const together = createHistogram(LATENCY_RANGE);
    for (const { latency } of ledgers) together.add(latency);
    all = together;
  }
  if (all.count === 0) return { count: 0, min: 0, mean: 0, p50: 0, p99: 0, max: 0 };
  const { count, min, mean, max } = all;
  return { count, min, mean, p50: all.percentile(50), p99: all.percentile(99), max };
}

function countErrors(sources: readonly QueueSource[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { events } of sources)
    for (const [code, count] of Object.entries(events.errors)) counts[code] = (counts[code] ?? 0) + count;
  return counts;
}
