import type { BusyPoll } from '../completion/busy-poll.js';
import { Calls, type ReadyOptions } from '../completion/calls.js';
import type { Ledger } from '../completion/ledger.js';
import { wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { type FramePool, freeFrame, handFrame, takeBuffer, takeOverFrames } from '../memory/frame-pool.js';
import type { DriverRing } from '../vring/driver-ring.js';
import { HEADER_SIZE, readNumBuffers } from './header.js';
import { leftFrame } from './left-frame.js';

/** Where the counters stand. */
const FRAMES = 0;
const BYTES = 1;
const COUNTERS = 2;

export interface ReceiveQueueOptions {
  readonly ring: DriverRing;
  readonly ledger: Ledger;
  readonly pool: FramePool;
  /** Wakes the device. */
  readonly kick: () => void;
  /** How long `ready` looks before it sleeps; not at all by default. */
  readonly busyPoll?: BusyPoll;
  /** VIRTIO_NET_F_MRG_RXBUF is agreed: a frame may take several buffers. */
  readonly mergeable: boolean;
  /** Buffers of the pool that are never taken for receiving. */
  readonly reserve: number;
  /** Buffers that this queue may post at most; all that are not reserved by default. */
  readonly most?: number;
  /** Told when `reap` finds that the device lied in the ring, which stands from then on. */
  readonly corrupted?: (error: VhostError) => void;
}

/**
 * The ring tier of reception: `refill` posts leased buffers, `reap` takes the frames that came into `frames`. Each is
 * a leased buffer (or a list of them, by `pool.next`) whose first 12 bytes are the virtio-net header, and is the
 * caller's until it is released to the pool or posted on a TransmitQueue of the same pool. Nothing here allocates.
 */
export class ReceiveQueue {
  readonly ring: DriverRing;
  readonly ledger: Ledger;
  readonly pool: FramePool;
  /** The first buffers of the frames that the last `reap` took. */
  readonly frames: Int32Array;
  /** Bytes of the frames that the last `reap` took, headers included. */
  bytes = 0;
  /** Buffers that the device may have at most. */
  readonly mostPosted: number;
  /** Times the device was woken. */
  kicks = 0;
  /** Buffers that a device had taken and never returned by the time it was stopped. */
  lost = 0;
  /** Those who wait for the device to call. */
  readonly calls: Calls;
  readonly #kick: () => void;
  readonly #mergeable: boolean;
  readonly #reserve: number;
  readonly #corrupted: ReceiveQueueOptions['corrupted'];
  /** See those of the ledger. */
  readonly #counters = new Float64Array(COUNTERS);
  /** A frame of which some buffers are still to be reaped, because a limit cut it: its first, its last, how many. */
  #first = -1;
  #last = -1;
  #missing = 0;

  constructor(options: ReceiveQueueOptions) {
    this.ring = options.ring;
    this.ledger = options.ledger;
    this.calls = new Calls(options.ring, options.busyPoll);
    this.pool = options.pool;
    this.#kick = options.kick;
    this.#mergeable = options.mergeable;
    this.mostPosted = Math.min(
      options.ring.size,
      options.pool.count - options.reserve,
      options.most ?? Number.POSITIVE_INFINITY,
    );
    this.#reserve = options.reserve;
    this.#corrupted = options.corrupted;
    this.frames = new Int32Array(options.ring.size);
  }

  /**
   * Refuses a ring that could never hold a frame of `longest` bytes: the kernel would wait for more buffers for ever, and
   * every later frame behind it.
   */
  checkHolds(longest: number): void {
    const room = (this.#mergeable ? this.mostPosted : 1) * this.pool.bufferSize - HEADER_SIZE;
    if (room < longest)
      throw wrongValue(
        'queueSize',
        `so large that the receive buffers hold the longest frame of this backend, ${longest} bytes (or bufferSize, or buffers)`,
        this.ring.size,
      );
  }

  /** Posts as many free buffers as the ring takes and wakes the device where it waits for them; how many. */
  refill(): number {
    const { ring, pool, ledger } = this;
    ring.checkOpen();
    const room = Math.min(ring.free, this.mostPosted - ring.inFlight, pool.free - this.#reserve);
    if (room <= 0) return 0;
    ledger.stamp();
    for (let i = 0; i < room; i++) {
      const buffer = pool.lease();
      const head = ring.post(pool.addressHigh, pool.address(buffer), pool.bufferSize, true);
      handFrame(pool, buffer);
      ledger.submit(head, pool.bufferSize, buffer);
    }
    if (ring.publish()) {
      this.kicks++;
      this.#kick();
    }
    return room;
  }

  /** Frames received so far … */
  get frameCount(): number {
    return this.#counters[FRAMES]!;
  }

  /** … and their bytes, headers included. */
  get byteCount(): number {
    return this.#counters[BYTES]!;
  }

  /** Why nothing can be received any more, if so. */
  get corruption(): VhostError | undefined {
    return this.ring.corruption;
  }

  /**
   * Takes the frames in up to `limit` used buffers into `frames`, and no further buffer once those hold `bytes`; how many
   * frames.
   */
  reap(limit?: number, bytes?: number): number {
    this.bytes = 0;
    const taken = this.corruption === undefined ? this.#take(limit, bytes) : 0;
    if (this.corruption !== undefined) this.#corrupted?.(this.corruption);
    return taken;
  }

  #take(limit?: number, bytes?: number): number {
    const { ring, ledger, pool, frames } = this;
    // Should the program end before the frames are whole, another must not take the rest of one for a frame.
    ring.journal.cut = undefined;
    const count = ring.reap(limit, bytes);
    if (count === 0) {
      ring.journal.cut = this.#missing;
      return 0;
    }
    ledger.complete(ring.heads, count);
    let taken = 0;
    for (let i = 0; i < count; i++) {
      const buffer = ledger.tokens[i]!;
      const length = ring.lengths[i]!;
      if (this.#missing === 0) {
        const buffers = this.#mergeable ? readNumBuffers(pool.bytes, pool.offset(buffer)) : 1;
        if (length < HEADER_SIZE || buffers < 1 || buffers > ring.size) {
          this.#corrupt(i, count, `gave a frame of ${length} bytes in ${buffers} buffers`);
          break;
        }
        this.#first = buffer;
        this.#missing = buffers;
      } else pool.next[this.#last] = buffer;
      takeBuffer(pool, buffer);
      pool.length[buffer] = length;
      this.#last = buffer;
      this.bytes += length;
      if (--this.#missing === 0) frames[taken++] = this.#first;
    }
    this.#counters[FRAMES]! += taken;
    this.#counters[BYTES]! += this.bytes;
    if (ring.corruption !== undefined) this.#dropPartial();
    else if (this.#missing > 0 && ring.reapable === 0)
      // vhost_add_used_n() publishes all buffers of a frame at once.
      this.#corrupt(count, count, `ended a frame ${this.#missing} buffers too early`);
    ring.journal.cut = this.#missing;
    return taken;
  }

  /**
   * Resolves when there is something to reap: looks for it while that pays, then asks for a call and sleeps. Rejects while
   * the queue is stopped, with what stopped it: ERR_VHOST_RING_CORRUPT, ERR_VHOST_CLOSED, …
   */
  ready(options?: ReadyOptions): Promise<void> {
    return this.calls.ready(options);
  }

  /**
   * After the device is detached: takes every buffer back to the pool; frames not reaped before are lost. Where `base`
   * tells at which available index it stopped and it returned all that it took, everything stays for the next.
   */
  settle(base?: number): void {
    const { ring, ledger } = this;
    if (base !== undefined && ring.lost(base) === 0 && this.corruption === undefined) return;
    this.#dropPartial();
    for (let count = ring.reap(); count > 0; count = ring.reap()) {
      ledger.complete(ring.heads, count);
      this.#discard(0, count);
    }
    const count = ring.reclaim(base);
    ledger.abandon(ring.heads, count);
    this.#discard(0, count);
  }

  /**
   * Enters the buffers that another driver left posted in this ring. Frames that came meanwhile are there to be reaped, but
   * for what belongs to a frame that the other was taking when it ended: how many buffers that are.
   */
  takeOver(): number {
    const { ring, pool, ledger } = this;
    const posted = ring.headsInFlight.map((head) => ({ head, ...leftFrame(ring, pool, head) }));
    takeOverFrames(
      pool,
      posted.map(({ buffers }) => buffers),
    );
    ledger.stamp();
    for (const { head, buffers } of posted) ledger.submit(head, pool.bufferSize, buffers[0]!);
    const { cut = ring.reapable } = ring.journal;
    let lost = 0;
    while (lost < cut) {
      const count = ring.reap(cut - lost);
      if (count === 0) break;
      ledger.complete(ring.heads, count);
      this.#discard(0, count);
      lost += count;
    }
    ring.journal.cut = 0;
    return lost;
  }

  #discard(from: number, count: number): void {
    const { pool, ledger } = this;
    for (let i = from; i < count; i++) freeFrame(pool, ledger.tokens[i]!);
  }

  #corrupt(from: number, count: number, what: string): void {
    this.#discard(from, count);
    this.#dropPartial();
    this.ring.corruption ??= new VhostError('ERR_VHOST_RING_CORRUPT', `the device ${what}`, { queue: 0 });
  }

  #dropPartial(): void {
    if (this.#missing > 0) this.pool.releaseFrame(this.#first);
    this.#missing = 0;
    this.ring.journal.cut = 0;
  }
}
