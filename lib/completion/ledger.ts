import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { VhostError } from '../errors/errors.js';

/** Batches of 2^16 frames and more than a ring holds cannot be: 16 powers of two and 1. */
const BATCH_BUCKETS = 17;
/** Microseconds that a latency histogram tells apart: up to an hour. */
export const LATENCY_RANGE = { lowest: 1, highest: 3_600_000_000 };
/** Where the counters stand. */
const SUBMITTED = 0;
const COMPLETED = 1;
const ABANDONED = 2;
const BYTES_SUBMITTED = 3;
const BYTES_COMPLETED = 4;
const OUT_OF_ORDER = 5;
const COUNTERS = 6;
/** Stands where no clock was read. */
const UNTIMED = -1;
/**
 * What is known of a head lies side by side and in few bytes, for completions come in any order, and what costs then is what
 * is fetched from memory: one float, the ordinal, and two words, token and bytes.
 */
const RECORD_FLOATS = 2;
const RECORD_WORDS = 4;
const TOKEN = 2;
const BYTES = 3;
/** Stands for the ordinal of a head that is not in flight; of one that is, it is even, or odd where the head bears a time. */
const NOT_IN_FLIGHT = -1;

/** What is told when a frame's fate is known: its position in what was submitted together, and how it ended. */
export interface FrameOwner {
  /**
   * `latency` in milliseconds from post to the end, NaN where no clock was read; `completed` false where the frame was
   * abandoned. What it throws is an uncaught exception of a turn of its own.
   */
  settle(position: number, completed: boolean, latency: number): void;
}

/**
 * What is in flight on one queue, by head: who waits for it, how long, how many bytes. Completions come late and in
 * any order; each head is counted once, as completed or as abandoned.
 *
 * Invariant: `submitted` = `completed` + `abandoned` + `inFlight`, at every observable moment.
 *
 * Nothing here allocates per frame; a frame that nobody waits for costs a few stores into typed arrays.
 */
export class Ledger {
  /** Heads that the device has now; counted, not derived, so that a sum that is wrong shows. */
  inFlight = 0;
  /** The most that were in flight at once. */
  maxInFlight = 0;
  bytesInFlight = 0;
  /** By power of two: completions that came in batches of 2^i up to 2^(i+1) - 1. */
  readonly batchSizes = new Float64Array(BATCH_BUCKETS);
  /**
   * Of how many frames one batch is timed, however many it has; every batch by default. A clock costs an object and more
   * time than a frame does, so that a queue whose frames nobody waits for times a few; where a frame has an owner, every
   * batch is timed.
   */
  timeEvery = 1;
  /** Microseconds from submission to completion, one for each stretch of completions in a row that bear the same time. */
  readonly latency: RecordableHistogram = createHistogram(LATENCY_RANGE);
  /** By position in the last `complete` or `abandon`: the token that was submitted with that head. */
  readonly tokens: Int32Array;

  readonly #clock: () => number;
  /** A field that passes 2^31 becomes another kind of number, and V8 compiles anew what reads it, amid traffic. */
  readonly #counters = new Float64Array(COUNTERS);
  readonly #floats: Float64Array;
  readonly #words: Int32Array;
  /** Set for a head that bears a time. */
  readonly #stamp: Float64Array;
  /** Heads in flight that somebody waits for. */
  #owned = 0;
  readonly #owner: (FrameOwner | undefined)[];
  readonly #position: Uint32Array;
  #now = UNTIMED;
  /** Heads submitted before the next batch that is timed. */
  #timedFrom = Number.NEGATIVE_INFINITY;
  #latestDone = Number.NEGATIVE_INFINITY;

  /** `size`: heads from 0, the ring's size. `clock`: milliseconds, monotonic. */
  constructor(size: number, clock: () => number = performance.now.bind(performance)) {
    this.#clock = clock;
    this.tokens = new Int32Array(size);
    this.#floats = new Float64Array(size * RECORD_FLOATS).fill(NOT_IN_FLIGHT);
    this.#words = new Int32Array(this.#floats.buffer);
    this.#stamp = new Float64Array(size);
    this.#owner = new Array<FrameOwner | undefined>(size).fill(undefined);
    this.#position = new Uint32Array(size);
  }

  /** Heads entered so far … */
  get submitted(): number {
    return this.#counters[SUBMITTED]!;
  }

  /** … of those, returned by the device … */
  get completed(): number {
    return this.#counters[COMPLETED]!;
  }

  /** … and given up because it is gone. */
  get abandoned(): number {
    return this.#counters[ABANDONED]!;
  }

  /** Bytes of all that were entered, as `submit` was told: of a frame with its virtio-net header, of a receive buffer all. */
  get bytesSubmitted(): number {
    return this.#counters[BYTES_SUBMITTED]!;
  }

  get bytesCompleted(): number {
    return this.#counters[BYTES_COMPLETED]!;
  }

  /** Completions of frames that were submitted before another that had completed already. */
  get outOfOrder(): number {
    return this.#counters[OUT_OF_ORDER]!;
  }

  /** Takes the time that the heads submitted next will bear, if their batch is one that is timed. */
  stamp(): void {
    if (this.timeEvery > 1 && this.submitted < this.#timedFrom) {
      this.#now = UNTIMED;
      return;
    }
    this.#timedFrom = this.submitted + this.timeEvery;
    this.#now = this.#clock();
  }

  /** Enters a head; `token` comes back in `tokens` when it is settled. */
  submit(head: number, bytes: number, token: number): void {
    const record = head * RECORD_FLOATS;
    if (this.#floats[record] !== NOT_IN_FLIGHT) this.#refuse(head, 'is in flight already');
    const timed = this.#now !== UNTIMED;
    this.#floats[record] = 2 * this.submitted + (timed ? 1 : 0);
    if (timed) this.#stamp[head] = this.#now;
    this.#words[head * RECORD_WORDS + TOKEN] = token;
    this.#words[head * RECORD_WORDS + BYTES] = bytes;
    this.#counters[SUBMITTED]!++;
    this.#counters[BYTES_SUBMITTED]! += bytes;
    this.bytesInFlight += bytes;
    if (++this.inFlight > this.maxInFlight) this.maxInFlight = this.inFlight;
  }

  /** Names who waits for a head just submitted; nobody does before. */
  assign(head: number, owner: FrameOwner, position: number): void {
    if (!this.#isInFlight(head)) this.#refuse(head, 'is not in flight');
    if (this.#owner[head] !== undefined)
      throw new VhostError('ERR_VHOST_IN_USE', `head ${head} is waited for already`);
    this.#owner[head] = owner;
    this.#position[head] = position;
    this.#owned++;
  }

  /** Whether any of the first `count` that were submitted is still in flight. */
  anyOfFirst(count: number): boolean {
    for (let record = 0; record < this.#floats.length; record += RECORD_FLOATS) {
      const ordinal = this.#floats[record]!;
      if (ordinal !== NOT_IN_FLIGHT && ordinal < 2 * count) return true;
    }
    return false;
  }

  /** Settles the first `count` of `heads` as completed, now; the bytes that they carried. */
  complete(heads: Uint16Array, count: number): number {
    if (count === 0) return 0;
    let now = UNTIMED;
    let stampRecorded = UNTIMED;
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const head = heads[i]!;
      const ordinal = this.#floats[head * RECORD_FLOATS]!;
      bytes += this.#take(head, i);
      this.#counters[COMPLETED]!++;
      if (ordinal < this.#latestDone) this.#counters[OUT_OF_ORDER]!++;
      else this.#latestDone = ordinal;
      let latency = Number.NaN;
      if ((ordinal & 1) !== 0) {
        const stamp = this.#stamp[head]!;
        if (now === UNTIMED) now = this.#clock();
        latency = now - stamp;
        if (stamp !== stampRecorded) {
          stampRecorded = stamp;
          this.latency.record(Math.max(1, Math.round(latency * 1000)));
        }
      }
      if (this.#owned > 0 && this.#owner[head] !== undefined) this.#tell(head, true, latency);
    }
    this.batchSizes[31 - Math.clz32(count)]!++;
    this.#counters[BYTES_COMPLETED]! += bytes;
    return bytes;
  }

  /** Settles the first `count` of `heads` as abandoned: the device is gone and will never return them. */
  abandon(heads: Uint16Array, count: number): void {
    const now = this.#clock();
    for (let i = 0; i < count; i++) {
      const head = heads[i]!;
      const timed = (this.#floats[head * RECORD_FLOATS]! & 1) !== 0;
      this.#take(head, i);
      this.#counters[ABANDONED]!++;
      if (this.#owned > 0 && this.#owner[head] !== undefined)
        this.#tell(head, false, timed ? now - this.#stamp[head]! : Number.NaN);
    }
  }

  /** Tells the owner of a head, which throws where it disturbs nothing: the rest of the batch is to be settled. */
  #tell(head: number, completed: boolean, latency: number): void {
    const owner = this.#owner[head]!;
    this.#owner[head] = undefined;
    this.#owned--;
    try {
      owner.settle(this.#position[head]!, completed, latency);
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }

  #take(head: number, position: number): number {
    if (!this.#isInFlight(head)) this.#refuse(head, 'is not in flight');
    this.#floats[head * RECORD_FLOATS] = NOT_IN_FLIGHT;
    this.inFlight--;
    this.tokens[position] = this.#words[head * RECORD_WORDS + TOKEN]!;
    const bytes = this.#words[head * RECORD_WORDS + BYTES]! >>> 0;
    this.bytesInFlight -= bytes;
    return bytes;
  }

  /** A head beyond the ring never is. */
  #isInFlight(head: number): boolean {
    return this.#floats[head * RECORD_FLOATS]! >= 0;
  }

  #refuse(head: number, why: string): never {
    throw new VhostError('ERR_VHOST_RING_CORRUPT', `head ${head} ${why}`);
  }
}
