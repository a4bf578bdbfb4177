import { VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import type { BusyPoll } from '../completion/busy-poll.js';
import { Calls } from '../completion/calls.js';
import type { Ledger } from '../completion/ledger.js';
import { checkWaitOptions, type WaitOptions } from '../completion/waiters.js';
import { VhostError, VhostRangeError } from '../errors/errors.js';
import { type FramePool, freeFrame, handFrame, takeOverFrames } from '../memory/frame-pool.js';
import type { DriverRing } from '../vring/driver-ring.js';
import { checkHeader, HEADER_SIZE, isOffloaded, isSegmented } from './header.js';
import { leftFrame } from './left-frame.js';

/** 14 bytes of Ethernet and 65,536 of what a segment may carry. */
export const MAX_SEGMENTED_FRAME = 65_550;
/** Ethernet header and one VLAN tag, which an MTU does not count. */
export const LINK_OVERHEAD = 18;

export interface TransmitQueueOptions {
  readonly ring: DriverRing;
  readonly ledger: Ledger;
  readonly pool: FramePool;
  /** Wakes the device. */
  readonly kick: () => void;
  /** How long `ready` looks before it sleeps; not at all by default. */
  readonly busyPoll?: BusyPoll;
  /** Bytes of payload that an ordinary frame may carry. */
  readonly mtu: number;
  /** The most that may be in flight. */
  readonly maxFrames: number;
  readonly maxBytes: number;
  /** Told when `reap` finds that the device lied in the ring, which stands from then on. */
  readonly corrupted?: (error: VhostError) => void;
}

/**
 * The ring tier of transmission: lease a buffer from `pool`, fill it (a virtio-net header of 12 bytes, then the frame;
 * `pool.length` counts both, `pool.next` links more buffers), `post` it, `flush` once, `reap` later. A posted frame
 * belongs to the device until it is reaped, which releases it to the pool. Nothing here allocates.
 */
export class TransmitQueue {
  readonly ring: DriverRing;
  readonly ledger: Ledger;
  readonly pool: FramePool;
  /** Times the device was woken. */
  kicks = 0;
  /** Frames that a device had taken and never returned by the time it was stopped. */
  lost = 0;
  /** Bytes of the frames that the last `reap` settled, headers included. */
  bytes = 0;
  /** Those who wait for the device to call. */
  readonly calls: Calls;
  /** The longest payload of an ordinary frame. */
  mtu: number;
  /** Whether the backend is given the header of a frame; without, none can ask for anything. */
  headed = true;
  readonly #kick: () => void;
  readonly #maxFrames: number;
  readonly #maxBytes: number;
  readonly #corrupted: TransmitQueueOptions['corrupted'];
  #posting = false;

  constructor(options: TransmitQueueOptions) {
    this.ring = options.ring;
    this.ledger = options.ledger;
    this.calls = new Calls(options.ring, options.busyPoll);
    this.pool = options.pool;
    this.mtu = options.mtu;
    this.#kick = options.kick;
    this.#maxFrames = options.maxFrames;
    this.#maxBytes = options.maxBytes;
    this.#corrupted = options.corrupted;
  }

  /**
   * Posts the frame that begins in a leased buffer; its head, or -1 where there is no room now, in which case the
   * lease stays with the caller. Throws, and takes nothing, where the frame breaks a rule: ERR_VHOST_BAD_HEADER
   * (see `checkHeader`), ERR_VHOST_OUT_OF_RANGE (a buffer that is not leased or overfull, buffers that go round, more bytes
   * than the MTU and 18, or 65,550 with segment offload, or than maxInFlight.bytes); ERR_VHOST_CLOSED.
   */
  post(first: number): number {
    const { pool, ring, ledger } = this;
    let bytes = 0;
    let buffers = 0;
    let next = first;
    do {
      bytes += this.#checkBuffer(next);
      if (++buffers > pool.count)
        throw new VhostRangeError(`the buffers of a frame must end; those from buffer ${first} go round`);
      next = pool.next[next]!;
    } while (next !== -1);
    this.#check(first, bytes);
    if (ledger.inFlight >= this.#maxFrames || ledger.bytesInFlight + bytes > this.#maxBytes) return -1;
    if (!this.#posting) {
      ring.checkOpen();
      this.#posting = true;
      ledger.stamp();
    }
    let head: number;
    if (buffers === 1) {
      head = ring.post(pool.addressHigh, pool.address(first), bytes, false);
      if (head === -1) return -1;
    } else {
      if (!ring.begin(buffers)) return -1;
      for (let buffer = first; buffer !== -1; buffer = pool.next[buffer]!)
        ring.add(pool.addressHigh, pool.address(buffer), pool.length[buffer]!, false);
      head = ring.end();
    }
    handFrame(pool, first);
    ledger.submit(head, bytes, first);
    return head;
  }

  /** Shows the device every frame posted since the last time and wakes it where it sleeps. ERR_VHOST_CLOSED. */
  flush(): void {
    this.#posting = false;
    if (!this.ring.publish()) return;
    this.kicks++;
    this.#kick();
  }

  /**
   * Settles up to `limit` frames that the device is done with, and no further one once they have `bytes`, and releases
   * their buffers; how many. After it, `ledger.tokens` holds their first buffers, in the order of completion.
   */
  reap(limit?: number, bytes?: number): number {
    const count = this.#complete(limit, bytes);
    const { corruption } = this.ring;
    if (corruption !== undefined) this.#corrupted?.(corruption);
    return count;
  }

  /**
   * Resolves when there is something to reap: looks for it while that pays, then asks for a call and sleeps. Rejects while
   * the queue is stopped, with what stopped it: ERR_VHOST_RING_CORRUPT, ERR_VHOST_CLOSED, …
   */
  async ready(options: WaitOptions = {}): Promise<void> {
    checkWaitOptions(options);
    await this.calls.ready(options);
  }

  /**
   * After the device is detached: settles what it returned as completed and what it never will as abandoned. Where
   * `base` tells at which available index it stopped, frames that it had not taken stay posted for the next.
   */
  settle(base?: number): void {
    const { ring, ledger } = this;
    this.#posting = false;
    if (base !== undefined && ring.lost(base) === 0 && ring.corruption === undefined) return;
    while (this.#complete() > 0);
    const count = ring.reclaim(base);
    ledger.abandon(ring.heads, count);
    this.#release(count);
  }

  /**
   * Throws where a frame is in flight that no device has returned and a backend could not carry: one with a header
   * (`headed`) or without, of this MTU. It would be dropped, and counted as completed.
   */
  checkCarries(mtu: number, headed: boolean): void {
    const { ring, pool } = this;
    for (const head of ring.headsInFlight.slice(ring.reapable)) {
      const { buffers, lengths } = leftFrame(ring, pool, head);
      const bytes = lengths.reduce((sum, length) => sum + length, 0);
      this.#checkCarried(pool.offset(buffers[0]!), bytes - HEADER_SIZE, mtu, headed);
    }
  }

  /** Enters the frames that another driver left in flight in this ring. */
  takeOver(): void {
    const { ring, pool, ledger } = this;
    const frames = ring.headsInFlight.map((head) => ({ head, ...leftFrame(ring, pool, head) }));
    takeOverFrames(
      pool,
      frames.map(({ buffers }) => buffers),
    );
    ledger.stamp();
    for (const { head, buffers, lengths } of frames) {
      const bytes = lengths.reduce((sum, length) => sum + length, 0);
      ledger.submit(head, bytes, buffers[0]!);
    }
  }

  #complete(limit?: number, bytes?: number): number {
    const { ring, ledger } = this;
    const count = ring.reap(limit, bytes);
    this.bytes = ledger.complete(ring.heads, count);
    this.#release(count);
    return count;
  }

  #release(count: number): void {
    const { pool, ledger } = this;
    for (let i = 0; i < count; i++) freeFrame(pool, ledger.tokens[i]!);
  }

  /** Every buffer of a frame is checked before any of it is posted; the bytes it holds. */
  #checkBuffer(buffer: number): number {
    const { pool } = this;
    if (!pool.isLeased(buffer)) {
      pool.checkOpen();
      throw new VhostRangeError(`buffer ${buffer} is not out on lease; lease it before it is posted`);
    }
    const length = pool.length[buffer]!;
    if (length > pool.bufferSize)
      throw new VhostRangeError(`buffer ${buffer} holds ${pool.bufferSize} bytes; its length is ${length}`);
    return length;
  }

  #check(first: number, bytes: number): void {
    const { pool } = this;
    const start = pool.offset(first);
    if (pool.length[first]! < HEADER_SIZE)
      throw new VhostRangeError(
        `the first buffer of a frame holds its ${HEADER_SIZE} bytes of header; buffer ${first} has ${pool.length[first]}`,
        'ERR_VHOST_BAD_HEADER',
      );
    checkHeader(pool.bytes, start, bytes);
    // It would wait for ever.
    if (bytes > this.#maxBytes)
      throw new VhostRangeError(
        `a frame has at most maxInFlight.bytes, ${this.#maxBytes}; this has ${bytes} with its header`,
      );
    this.#checkCarried(start, bytes - HEADER_SIZE, this.mtu, this.headed);
  }

  /** Refuses a frame of so many bytes, its header at `start`, that such a backend does not carry. */
  #checkCarried(start: number, frame: number, mtu: number, headed: boolean): void {
    const { bytes } = this.pool;
    if (!headed && isOffloaded(bytes, start))
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        'this backend carries no headers, so that a frame cannot leave its checksum or segments to the other side',
        { queue: VHOST_NET_VQ_TX },
      );
    if (frame <= mtu + LINK_OVERHEAD) return;
    if (!isSegmented(bytes, start))
      throw new VhostRangeError(
        `a frame without segment offload has at most the MTU ${mtu} + ${LINK_OVERHEAD} bytes; this has ${frame}`,
      );
    if (frame > MAX_SEGMENTED_FRAME)
      throw new VhostRangeError(
        `a frame with segment offload has at most ${MAX_SEGMENTED_FRAME} bytes; this has ${frame}`,
      );
  }
}
