import { checkInteger, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Allocation, GuestMemory } from './guest-memory.js';
import type { Region } from './region.js';

/** Buffers start on a cache line, so that no two share one with the device. */
const ALIGNMENT = 64;
const WINDOW = 2 ** 32;

/** Who has a buffer. */
const FREE = 0;
const LEASED = 1;
const POSTED = 2;
const CLOSED = 3;
/** Leased when the memory was closed: whoever has it may still give it back. */
const LEFT = 4;

/** Hands a leased frame to the device: its first buffer and all that `next` links to it now. */
export let handFrame: (pool: FramePool, first: number) => void;
/** Takes one buffer that the device returned; it is leased, and linked to none. */
export let takeBuffer: (pool: FramePool, buffer: number) => void;
/** Frees a frame that the device returned, with all that was linked to it when it was handed over. */
export let freeFrame: (pool: FramePool, first: number) => void;
/** Takes free buffers for frames that whoever had the pool before has left with a device. */
export let takeOverFrames: (pool: FramePool, frames: readonly (readonly number[])[]) => void;

/**
 * Buffers of one size in a region, known by index from 0, leased and released without allocation. A frame longer
 * than one buffer is a list of them: `next` links it, `length` says how much of each is filled.
 *
 * Invariant: free + leased + posted = `count`. A posted buffer belongs to the device; it can be neither released nor
 * posted again until the device has returned it. Only a queue posts and takes back, so that no program can say that a
 * buffer is done: what does so are functions of this file, and no methods.
 */
export class FramePool {
  readonly region: Region;
  /** Bytes a buffer holds. */
  readonly bufferSize: number;
  /** Bytes from the start of the region to buffer 0. */
  readonly base: number;
  /** How many buffers there are. */
  readonly count: number;
  /** All of the region, where `offset(buffer)` points. */
  readonly bytes: Uint8Array;
  /** By buffer: bytes filled, the virtio-net header of a first buffer included. */
  readonly length: Uint32Array;
  /** By buffer: the buffer that continues the frame, -1 at its end. */
  readonly next: Int32Array;
  /** The upper half of every buffer's guest physical address. */
  readonly addressHigh: number;
  /** The lower half of buffer 0's. */
  readonly addressLow: number;
  readonly #stack: Int32Array;
  readonly #state: Uint8Array;
  /** By posted buffer: `next` as it was when the frame was handed over; what a program writes there since is nothing. */
  readonly #chain: Int32Array;
  readonly #allocation: Allocation;
  #free: number;
  /** Buffers that would be free if there still were memory for them. */
  #retired = 0;
  #closed = false;

  static {
    handFrame = (pool, first) => pool.#hand(first);
    takeBuffer = (pool, buffer) => pool.#take(buffer);
    freeFrame = (pool, first) => pool.#freeFrame(first);
    takeOverFrames = (pool, frames) => pool.#takeOver(frames);
  }

  /**
   * Takes room for `count` buffers of `bufferSize` bytes (rounded up to cache lines) from `memory`: from this region of it,
   * or from the first that has room. ERR_VHOST_OUT_OF_RANGE: none has, or the pool would cross a multiple of 4 GiB.
   */
  constructor(memory: GuestMemory, bufferSize: number, count: number, region?: Region) {
    checkInteger('bufferSize', bufferSize, 64, 2 ** 24);
    checkInteger('count', count, 1, 2 ** 20);
    this.bufferSize = Math.ceil(bufferSize / ALIGNMENT) * ALIGNMENT;
    this.count = count;
    this.#allocation = memory.allocate(this.bufferSize * count, ALIGNMENT, {
      region,
      use: () => this.#describe(),
      gone: () => this.#retire(),
    });
    const { region: place, offset } = this.#allocation;
    const address = place.guestPhysicalAddress + offset;
    // One upper half for all keeps 64-bit arithmetic out of the ring.
    if (Math.floor(address / WINDOW) !== Math.floor((address + this.bufferSize * count - 1) / WINDOW)) {
      this.#allocation.free();
      throw wrongValue('guestPhysicalAddress', 'such that the pool crosses no multiple of 4 GiB', address);
    }
    this.region = place;
    this.base = offset;
    this.bytes = place.bytes;
    this.addressHigh = Math.floor(address / WINDOW);
    this.addressLow = address % WINDOW;
    this.length = new Uint32Array(count);
    this.next = new Int32Array(count).fill(-1);
    this.#stack = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#state = new Uint8Array(count);
    this.#chain = new Int32Array(count);
    this.#free = count;
  }

  /** Buffers that can be leased now. */
  get free(): number {
    return this.#free + this.#retired;
  }

  /** Takes a buffer; -1 where none is free. ERR_VHOST_CLOSED: the pool or its memory was closed. */
  lease(): number {
    if (this.#free === 0) return this.#none();
    const buffer = this.#stack[--this.#free]!;
    this.#state[buffer] = LEASED;
    return buffer;
  }

  /** Gives one buffer back, whatever it is linked to. ERR_VHOST_NOT_LEASED: it is not out on lease. */
  release(buffer: number): void {
    if (this.#state[buffer] === LEASED) this.#giveBack(buffer);
    else this.#releaseLeft(buffer);
  }

  /** The buffer that begins at a guest physical address; -1 where none does. */
  bufferAt(guestPhysicalAddress: number): number {
    const buffer = (guestPhysicalAddress - this.addressHigh * WINDOW - this.addressLow) / this.bufferSize;
    return Number.isInteger(buffer) && buffer >= 0 && buffer < this.count ? buffer : -1;
  }

  /** Gives back a frame: its first buffer and all that `next` links to it. ERR_VHOST_NOT_LEASED: one of them is not out on lease. */
  releaseFrame(first: number): void {
    for (let buffer = first; buffer !== -1; ) {
      const after = this.next[buffer]!;
      this.release(buffer);
      buffer = after;
    }
  }

  /** Whether a buffer is out on lease. */
  isLeased(buffer: number): boolean {
    return this.#state[buffer] === LEASED;
  }

  /** Where a buffer starts in `bytes`. */
  offset(buffer: number): number {
    return this.base + buffer * this.bufferSize;
  }

  /** The lower half of a buffer's guest physical address. */
  address(buffer: number): number {
    return (this.addressLow + buffer * this.bufferSize) >>> 0;
  }

  /** Gives the pool's room back to the memory. ERR_VHOST_IN_USE: a buffer is leased or posted. Idempotent. */
  close(): void {
    if (this.#closed) return;
    if (this.#free < this.count)
      throw new VhostError('ERR_VHOST_IN_USE', `${this.#describe()} cannot be closed; release them first`);
    this.#closed = true;
    this.#state.fill(CLOSED);
    this.#free = 0;
    this.#allocation.free();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Refuses what would go to memory that is no more. */
  checkOpen(): void {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'the buffer pool, or its memory, is closed');
  }

  #none(): -1 {
    this.checkOpen();
    return -1;
  }

  /** The memory was closed: nothing is lent any more, and what is out on lease may come back. */
  #retire(): void {
    this.#closed = true;
    for (const [buffer, state] of this.#state.entries())
      this.#state[buffer] = state === LEASED ? LEFT : CLOSED;
    this.#retired = this.#free;
    this.#free = 0;
  }

  #releaseLeft(buffer: number): void {
    if (this.#state[buffer] !== LEFT) this.#expect(buffer, LEASED);
    this.#state[buffer] = CLOSED;
    this.#retired++;
  }

  #hand(first: number): void {
    let buffer = first;
    do {
      this.#expect(buffer, LEASED);
      this.#state[buffer] = POSTED;
      const after = this.next[buffer]!;
      this.#chain[buffer] = after;
      buffer = after;
    } while (buffer !== -1);
  }

  #take(buffer: number): void {
    this.#expect(buffer, POSTED);
    this.#state[buffer] = LEASED;
    this.next[buffer] = -1;
  }

  #freeFrame(first: number): void {
    let buffer = first;
    do {
      this.#expect(buffer, POSTED);
      this.#giveBack(buffer);
      buffer = this.#chain[buffer]!;
    } while (buffer !== -1);
  }

  #takeOver(frames: readonly (readonly number[])[]): void {
    for (const buffers of frames)
      for (const [i, buffer] of buffers.entries()) {
        this.#expect(buffer, FREE);
        this.#state[buffer] = POSTED;
        this.#chain[buffer] = buffers[i + 1] ?? -1;
      }
    this.#free = 0;
    for (let buffer = this.count - 1; buffer >= 0; buffer--)
      if (this.#state[buffer] === FREE) this.#stack[this.#free++] = buffer;
  }

  #giveBack(buffer: number): void {
    this.#state[buffer] = FREE;
    this.next[buffer] = -1;
    this.#stack[this.#free++] = buffer;
  }

  #describe(): string {
    const posted = this.#state.reduce((count, state) => count + (state === POSTED ? 1 : 0), 0);
    const leased = this.count - this.#free - posted;
    return `a pool of ${this.count} buffers, ${leased} of them leased and ${posted} posted to a device`;
  }

  #expect(buffer: number, state: number): void {
    const found = this.#state[buffer];
    if (found === state) return;
    const what =
      found === undefined
        ? 'is none of this pool'
        : ['is free', 'is leased', 'is posted to a device', 'is of a closed pool', 'is of closed memory'][
            found
          ];
    const wanted = ['free', 'leased', 'posted'][state];
    throw new VhostError('ERR_VHOST_NOT_LEASED', `buffer ${buffer} must be ${wanted}; it ${what}`);
  }
}
