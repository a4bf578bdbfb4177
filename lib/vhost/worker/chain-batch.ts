import type { AddressMap } from '../../memory/address-map.js';
import { type DeviceRing, SEGMENTS_MAX, type WriteLog } from '../../vring/device-ring.js';

/** Chains that a batch holds at most: VHOST_NET_BATCH times the buffers of an ordinary merged frame. */
const CHAINS = 1024;
/** Room for one more chain of any kind is what a batch needs to be added to. */
const PIECES = 3 * SEGMENTS_MAX;

/**
 * Chains that were taken from a ring, flat, as `FramesSurface` takes them. Filled and emptied without an allocation.
 */
export class ChainBatch {
  /** Two numbers for each piece, user address and bytes; those of what is too long for all chains come last. */
  readonly pieces = new Float64Array(2 * (PIECES + 1));
  /** By chain: index of the piece behind its last, … */
  readonly ends = new Uint32Array(CHAINS);
  /** … its head, … */
  readonly heads = new Uint16Array(CHAINS);
  /** … its bytes, … */
  readonly bytes = new Float64Array(CHAINS);
  /** … and 1 where a request completes it later. */
  readonly deferred = new Uint8Array(CHAINS);
  /** By piece: the stretch of memory that it lies in, and where it begins there. */
  readonly #places = new Uint16Array(PIECES);
  readonly #offsets = new Float64Array(PIECES);
  /** Guest physical address of each piece. */
  readonly #addresses = new Float64Array(PIECES);
  /** How many chains there are, … */
  count = 0;
  /** … and the bytes of all of them. */
  total = 0;

  /** Whether no further chain can be added. */
  get full(): boolean {
    return this.count === CHAINS || this.#start(this.count) > PIECES - SEGMENTS_MAX;
  }

  clear(): void {
    this.count = 0;
    this.total = 0;
  }

  /** Adds the chain that the ring parsed last. */
  add(ring: DeviceRing, head: number): void {
    const { segments, memory } = ring;
    const chain = this.count;
    const start = this.#start(chain);
    for (let i = 0; i < segments; i++) {
      const piece = start + i;
      const place = ring.places[i]!;
      const address = ring.addresses[i]!;
      const offset = address - memory.starts[place]!;
      this.#places[piece] = place;
      this.#offsets[piece] = offset;
      this.#addresses[piece] = address;
      this.pieces[2 * piece] = memory.userAddresses[place]! + offset;
      this.pieces[2 * piece + 1] = ring.lengths[i]!;
    }
    const bytes = ring.readableBytes + ring.writableBytes;
    this.ends[chain] = start + segments;
    this.heads[chain] = head;
    this.bytes[chain] = bytes;
    this.deferred[chain] = 0;
    this.count = chain + 1;
    this.total += bytes;
  }

  /** Says where the rest of a frame goes that is longer than its chains. */
  spillTo(address: number, bytes: number): void {
    const piece = this.#start(this.count);
    this.pieces[2 * piece] = address;
    this.pieces[2 * piece + 1] = bytes;
  }

  /** Copies bytes of a chain, from its `skip`-th on; how many. */
  gather(memory: AddressMap, chain: number, skip: number, target: Uint8Array): number {
    let left = skip;
    let copied = 0;
    for (let piece = this.#start(chain); piece < this.ends[chain]! && copied < target.length; piece++) {
      const length = this.pieces[2 * piece + 1]!;
      const skipped = Math.min(left, length);
      left -= skipped;
      const bytes = Math.min(length - skipped, target.length - copied);
      if (bytes === 0) continue;
      const at = this.#offsets[piece]! + skipped;
      target.set(memory.bytes[this.#places[piece]!]!.subarray(at, at + bytes), copied);
      copied += bytes;
    }
    return copied;
  }

  /** Copies `source` into a chain, from its `skip`-th byte on, and, where it is too short, into those that follow. */
  scatter(memory: AddressMap, chain: number, skip: number, source: Uint8Array): void {
    let left = skip;
    let copied = 0;
    for (let piece = this.#start(chain); piece < this.#start(this.count) && copied < source.length; piece++) {
      const length = this.pieces[2 * piece + 1]!;
      const skipped = Math.min(left, length);
      left -= skipped;
      const bytes = Math.min(length - skipped, source.length - copied);
      if (bytes === 0) continue;
      const part = bytes === source.length ? source : source.subarray(copied, copied + bytes);
      memory.bytes[this.#places[piece]!]!.set(part, this.#offsets[piece]! + skipped);
      copied += bytes;
    }
  }

  /** Tells of each stretch of the first `written` bytes of a chain: guest physical address and bytes. */
  tell(chain: number, written: number, log: WriteLog): void {
    let left = written;
    for (let piece = this.#start(chain); piece < this.ends[chain]! && left > 0; piece++) {
      const bytes = Math.min(left, this.pieces[2 * piece + 1]!);
      log(this.#addresses[piece]!, bytes);
      left -= bytes;
    }
  }

  #start(chain: number): number {
    return chain === 0 ? 0 : this.ends[chain - 1]!;
  }
}
