import { wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { FramePool } from '../memory/frame-pool.js';
import { HEADER_SIZE, type NetHeader, readHeader } from './header.js';
import type { ReceiveQueue } from './receive-queue.js';

/**
 * Frames received together. Their bytes lie in the receive buffers themselves and stay there until `release`; a
 * batch taken from an iteration is released at its next step unless `keep` was called.
 */
export class ReceiveBatch implements Iterable<Uint8Array> {
  /** Frames. */
  readonly length: number;
  readonly #pool: FramePool;
  readonly #first: Int32Array;
  readonly #returned: () => void;
  #kept = false;
  #released = false;

  /** Takes over the first `count` of the frames that `queue` has just reaped; `returned` is told of the release. */
  constructor(queue: ReceiveQueue, count: number, returned: () => void) {
    this.length = count;
    this.#pool = queue.pool;
    this.#first = queue.frames.slice(0, count);
    this.#returned = returned;
  }

  /** Whether the buffers went back. */
  get released(): boolean {
    return this.#released;
  }

  /** Whether the iteration leaves the release to the caller. */
  get kept(): boolean {
    return this.#kept;
  }

  /** The Ethernet frame at `index`: a view of its buffer, or a copy where it lies in several. */
  frame(index: number): Uint8Array {
    const pool = this.#pool;
    const first = this.#at(index);
    const start = pool.offset(first) + HEADER_SIZE;
    const end = pool.offset(first) + pool.length[first]!;
    // Of the buffer itself, which costs half of what a subarray does.
    if (pool.next[first] === -1) return new Uint8Array(pool.region.buffer, start, end - start);
    const pieces: Uint8Array[] = [];
    for (let buffer = first; buffer !== -1; buffer = pool.next[buffer]!) {
      const from = pool.offset(buffer) + (buffer === first ? HEADER_SIZE : 0);
      pieces.push(pool.bytes.subarray(from, pool.offset(buffer) + pool.length[buffer]!));
    }
    return Buffer.concat(pieces);
  }

  /** What the frame at `index` leaves to this side. */
  header(index: number): Required<NetHeader> {
    return readHeader(this.#pool.bytes, this.#pool.offset(this.#at(index)));
  }

  /** No generator, which takes longer to resume than a frame to make. */
  [Symbol.iterator](): Iterator<Uint8Array, undefined> {
    let index = 0;
    return {
      next: () =>
        index < this.length ? { done: false, value: this.frame(index++) } : { done: true, value: undefined },
    };
  }

  /** Holds the buffers beyond the next step of the iteration, until `release`. */
  keep(): this {
    this.#kept = true;
    return this;
  }

  /** Gives the buffers back; views of them show later frames from then on. Idempotent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const first of this.#first) this.#pool.releaseFrame(first);
    this.#returned();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  #at(index: number): number {
    if (this.#released)
      throw new VhostError(
        'ERR_VHOST_NOT_LEASED',
        'the batch was released; keep() it to hold it beyond the next step of an iteration',
      );
    if (this.#pool.bytes.length === 0)
      throw new VhostError(
        'ERR_VHOST_CLOSED',
        'the memory of the batch was unmapped when its Nic was closed',
      );
    const first = this.#first[index];
    if (first === undefined) throw wrongValue('index', `below the ${this.length} frames of the batch`, index);
    return first;
  }
}
