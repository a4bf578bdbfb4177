import {
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_AVAIL_RING_OFFSET,
  VRING_DESC_ADDR_OFFSET,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_DESC_FLAGS_OFFSET,
  VRING_DESC_LEN_OFFSET,
  VRING_DESC_NEXT_OFFSET,
  VRING_DESC_SIZE,
  VRING_USED_ELEM_SIZE,
  VRING_USED_F_NO_NOTIFY,
  VRING_USED_IDX_OFFSET,
  VRING_USED_RING_OFFSET,
} from '../abi/virtio-ring.js';
import { checkInteger } from '../errors/check.js';
import type { AddressMap } from '../memory/address-map.js';
import type { Inflight } from './inflight.js';
import { checkRingSize, type RingPart } from './layout.js';
import { advance, distance, passes } from './ring-index.js';

const WINDOW = 2 ** 32;
/** Both rings begin with `flags` and `idx`, as 16-bit words. */
const FLAGS = 0;
const INDEX = 1;
/** Descriptors that an indirect table may have at most, like get_indirect() in drivers/vhost/vhost.c. */
const TABLE_MAX = 0x1_0000;
/** Pieces of memory that a chain may have at most: UIO_MAXIOV + VHOST_NET_BATCH, the kernel's iov_limit. */
export const SEGMENTS_MAX = 1088;

/** What `take` answers where the driver offers no chain … */
export const NO_CHAIN = -1;
/** … and where what it offers cannot be; `fault` says why. */
export const BAD_CHAIN = -2;

/** Why a chain was not taken: the checks of vhost_get_vq_desc(). */
export type RingFault =
  /** The available index is further ahead than the ring is long. */
  | 'index'
  /** A head that no ring of this size has. */
  | 'head'
  /** A descriptor's `next` that no table of this size has. */
  | 'next'
  /** More descriptors than the table has: the chain comes back to where it was. */
  | 'loop'
  /** A descriptor of an indirect table that leads to another table. */
  | 'nested-table'
  /** An indirect table of no descriptor, of a part of one, or of more than 65,536. */
  | 'table-length'
  /** A descriptor to be read after one to be written. */
  | 'order'
  /** An address in no region of the memory table. */
  | 'address'
  /** More than 1,088 pieces of memory. */
  | 'segments';

/** Where a ring lies. */
export interface RingParts {
  readonly descriptorTable: RingPart;
  readonly availableRing: RingPart;
  readonly usedRing: RingPart;
}

/** Told of each write to the used ring: guest physical address and bytes. */
export type WriteLog = (guestPhysicalAddress: number, length: number) => void;

export interface DeviceRingOptions {
  readonly parts: RingParts;
  /** Descriptors: a power of two up to 32,768. */
  readonly size: number;
  /** What the device may reach. */
  readonly memory: AddressMap;
  /** VIRTIO_F_EVENT_IDX is agreed. */
  readonly eventIdx?: boolean;
  /** VIRTIO_F_IN_ORDER is agreed: chains are shown as used in the order in which they became available. */
  readonly inOrder?: boolean;
  /** VIRTIO_F_NOTIFY_ON_EMPTY is agreed: a call comes, wanted or not, when the driver has nothing more to take. */
  readonly notifyOnEmpty?: boolean;
  /** Available index to begin at (VHOST_SET_VRING_BASE); the used index is read from the ring. */
  readonly base?: number;
  /**
   * Where the chains that are taken are noted. Those that a device before has left there are taken first; the available
   * index to begin at is then as many behind the used index.
   */
  readonly inflight?: Inflight | undefined;
}

/**
 * The device's side of a split ring (VIRTIO 1.3 §2.7 Split Virtqueues).
 *
 * A round is: `take` chains, move their bytes, `use` each, `publish` once, call if `wantsCall`. The chain that was taken
 * last lies in `places`, `addresses` and `lengths`; `parse` puts it there again at any later time. Nothing here
 * allocates, and nothing that the driver writes makes it throw: what cannot be is `fault`, and the chain stays where it
 * was, so that the driver finds it at `base`.
 */
export class DeviceRing {
  readonly size: number;
  /** What the device may reach. */
  memory: AddressMap;
  /** Guest physical address under which writes to the used ring are told to `log`; -1 for none. */
  usedAddress = -1;
  log: WriteLog | undefined;
  /** Why the last `take` or `parse` found no good chain. */
  fault: RingFault | undefined;

  // The chain that was parsed last, as pieces that lie each in one stretch of memory; those to be read come first.
  /** By piece: the stretch it lies in, … */
  readonly places = new Uint16Array(SEGMENTS_MAX);
  /** … its guest physical address … */
  readonly addresses = new Float64Array(SEGMENTS_MAX);
  /** … and its bytes. */
  readonly lengths = new Uint32Array(SEGMENTS_MAX);
  /** How many pieces there are … */
  segments = 0;
  /** … and how many of them are to be read. */
  readable = 0;
  /** Bytes to be read and bytes to be written. */
  readableBytes = 0;
  writableBytes = 0;

  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #notifyOnEmpty: boolean;
  #descriptors!: Uint32Array;
  #available!: Uint16Array;
  #usedWords!: Uint16Array;
  #usedElements!: Uint32Array;
  readonly #usedEvent: number;
  readonly #availEvent: number;

  /** The available index that is taken next, and as far as it is known to go. */
  #next: number;
  #known: number;
  /** The used index that the driver sees, and elements written beyond it. */
  #used: number;
  #staged = 0;
  /** The used index at the last answer of `wantsCall`, -1 before the first. */
  #called = -1;
  #published = false;
  #offersKicks = true;

  readonly #inflight: Inflight | undefined;
  /** Chains that a device before had, and that are taken before those of the available ring; not exact below 0. */
  #left = 0;

  /** In order, or where chains are noted: the heads that were taken, by slot of the available index. */
  readonly #taken: Uint16Array | undefined;
  // In order: what is known of those that are not shown as used yet.
  /** By head: bytes written + 1 once it is used, 0 before. */
  readonly #done: Float64Array | undefined;
  #oldest: number;

  /** A descriptor that lies across two stretches, put together. */
  readonly #scratch = new DataView(new ArrayBuffer(VRING_DESC_SIZE));

  constructor(options: DeviceRingOptions) {
    this.size = checkRingSize('size', options.size);
    this.memory = options.memory;
    this.#mask = this.size - 1;
    this.#eventIdx = options.eventIdx ?? false;
    this.#notifyOnEmpty = options.notifyOnEmpty ?? false;
    this.#usedEvent = VRING_AVAIL_RING_OFFSET / 2 + this.size;
    this.#availEvent = VRING_USED_RING_OFFSET / 2 + 4 * this.size;
    const base = checkInteger('base', options.base ?? 0, 0, 0xffff);
    this.#inflight = options.inflight;
    if (options.inOrder || options.inflight) this.#taken = new Uint16Array(this.size);
    if (options.inOrder) this.#done = new Float64Array(this.size);
    this.move(options.parts);
    // Like vhost_vq_init_access(): the driver, or the device before this one, says where the used ring stands.
    this.#used = Atomics.load(this.#usedWords, INDEX);
    this.#usedWords[FLAGS] = 0;
    const left = this.#inflight?.recover(this.#used) ?? [];
    for (const [i, head] of left.entries()) this.#taken![(this.#used + i) & this.#mask] = head;
    this.#left = left.length;
    this.#next = left.length === 0 ? base : this.#used;
    this.#known = advance(this.#next, left.length);
    this.#oldest = this.#next;
  }

  /** Goes on in other memory, to which the driver has moved the ring as it is. */
  move({ descriptorTable, availableRing, usedRing }: RingParts): void {
    const { size } = this;
    const events = this.#eventIdx ? 1 : 0;
    this.#descriptors = new Uint32Array(
      descriptorTable.buffer,
      descriptorTable.offset,
      (size * VRING_DESC_SIZE) / 4,
    );
    this.#available = new Uint16Array(availableRing.buffer, availableRing.offset, 2 + size + events);
    this.#usedWords = new Uint16Array(usedRing.buffer, usedRing.offset, 2 + 4 * size + events);
    this.#usedElements = new Uint32Array(usedRing.buffer, usedRing.offset + VRING_USED_RING_OFFSET, 2 * size);
  }

  /** The available index that is taken next (VHOST_GET_VRING_BASE). */
  get base(): number {
    return advance(this.#next, Math.max(0, this.#left));
  }

  /**
   * Takes the next chain and parses it; its head, NO_CHAIN, or BAD_CHAIN, in which case it is not taken
   * (VIRTIO 1.3 §2.7.13 Supplying Buffers to The Device, like vhost_get_vq_desc()).
   */
  take(): number {
    const next = this.#next;
    if (next === this.#known) {
      const index = Atomics.load(this.#available, INDEX);
      if (distance(next, index) > this.size) return this.#bad('index');
      if (index === next) {
        this.fault = undefined;
        return NO_CHAIN;
      }
      this.#known = index;
    }
    const slot = next & this.#mask;
    const head = this.#left > 0 ? this.#taken![slot]! : this.#available[VRING_AVAIL_RING_OFFSET / 2 + slot]!;
    if (!this.parse(head)) return BAD_CHAIN;
    if (this.#taken !== undefined) this.#taken[slot] = head;
    if (this.#inflight !== undefined) {
      // What a device before had is noted already, and is older than what it had not.
      if (this.#left <= 0) this.#inflight.take(head);
      // No more than all are ever given back at once.
      this.#left = Math.max(this.#left - 1, -this.size);
    }
    this.#next = advance(next, 1);
    return head;
  }

  /** Gives the last `count` chains back: they are taken again. None of them may have been used. */
  discard(count: number): void {
    if (this.#inflight === undefined) {
      this.#next = advance(this.#next, -count);
      return;
    }
    for (let i = 0; i < count; i++) {
      this.#next = advance(this.#next, -1);
      // What a device before had stays noted: nothing else says that it is the driver's to get back.
      if (++this.#left <= 0) this.#inflight.giveBack(this.#taken![this.#next & this.#mask]!);
    }
  }

  /** Parses the chain of a head as it is now, taken or not; false where it is bad. */
  parse(head: number): boolean {
    this.fault = undefined;
    this.segments = 0;
    this.readable = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
    const { size } = this;
    const table = this.#descriptors;
    if (head >= size) return this.#no('head');
    let id = head;
    for (let found = 1; ; found++) {
      if (found > size) return this.#no('loop');
      const word = id * 4;
      // Read once: the driver can change it between a check and the use of what was checked.
      const flagsAndNext = table[word + 3]!;
      const address = table[word + 1]! * WINDOW + table[word]!;
      const length = table[word + 2]!;
      if ((flagsAndNext & VRING_DESC_F_INDIRECT) !== 0) {
        if (!this.#parseTable(address, length)) return false;
      } else if (!this.#add(address, length, (flagsAndNext & VRING_DESC_F_WRITE) !== 0)) return false;
      if ((flagsAndNext & VRING_DESC_F_NEXT) === 0) return true;
      id = flagsAndNext >>> 16;
      if (id >= size) return this.#no('next');
    }
  }

  /**
   * Is done with a chain that was taken, into which `length` bytes were written; the driver sees it after `publish`
   * (VIRTIO 1.3 §2.7.8 The Virtqueue Used Ring).
   */
  use(head: number, length: number): void {
    const done = this.#done;
    if (done === undefined) this.#write(head, length);
    else done[head] = length + 1;
  }

  /** Shows the driver every chain used since the last time, in one step; how many. */
  publish(): number {
    if (this.#done !== undefined) this.#writeInOrder();
    const count = this.#staged;
    if (count === 0) return 0;
    this.#staged = 0;
    this.#published = true;
    const before = this.#used;
    this.#used = advance(before, count);
    Atomics.store(this.#usedWords, INDEX, this.#used);
    this.#inflight?.shown(count, this.#used);
    if (this.log !== undefined && this.usedAddress !== -1) this.#logUsed(before & this.#mask, count);
    return count;
  }

  /**
   * Whether the driver wants a call for what was published since this was last asked (VIRTIO 1.3 §2.7.7 Used Buffer
   * Notification Suppression, like vhost_notify()).
   */
  wantsCall(): boolean {
    if (!this.#published) return false;
    this.#published = false;
    const before = this.#called;
    this.#called = this.#used;
    if (this.#notifyOnEmpty && Atomics.load(this.#available, INDEX) === this.#next) return true;
    if (!this.#eventIdx) return (Atomics.load(this.#available, FLAGS) & VRING_AVAIL_F_NO_INTERRUPT) === 0;
    // Whether the device before this one has called for all that it published, nobody knows.
    if (before === -1) return true;
    return passes(Atomics.load(this.#available, this.#usedEvent), this.#used, before);
  }

  /**
   * Asks for a kick with the next chain; true where there is one already, in which case no kick may come
   * (VIRTIO 1.3 §2.7.10 Available Buffer Notification Suppression, like vhost_enable_notify()).
   */
  enableKicks(): boolean {
    this.#offersKicks = true;
    const seen = this.#known;
    if (this.#eventIdx) Atomics.store(this.#usedWords, this.#availEvent, seen);
    else Atomics.store(this.#usedWords, FLAGS, 0);
    this.#logWords();
    return Atomics.load(this.#available, INDEX) !== seen;
  }

  /** Asks for no kicks; with EVENT_IDX none comes anyway before the event is passed again. */
  disableKicks(): void {
    if (!this.#offersKicks) return;
    this.#offersKicks = false;
    if (this.#eventIdx) return;
    Atomics.store(this.#usedWords, FLAGS, VRING_USED_F_NO_NOTIFY);
    this.#logWords();
  }

  /** The descriptors of an indirect table (VIRTIO 1.3 §2.7.5.3 Indirect Descriptors, like get_indirect()). */
  #parseTable(table: number, length: number): boolean {
    const count = length / VRING_DESC_SIZE;
    if (length === 0 || length % VRING_DESC_SIZE !== 0 || count > TABLE_MAX) return this.#no('table-length');
    let id = 0;
    for (let found = 1; ; found++) {
      if (found > count) return this.#no('loop');
      const entry = table + id * VRING_DESC_SIZE;
      const place = this.memory.find(entry);
      if (place === -1) return this.#no('address');
      let view = this.memory.views[place]!;
      let at = entry - this.memory.starts[place]!;
      if (entry + VRING_DESC_SIZE > this.memory.ends[place]!) {
        if (!this.#gather(entry)) return this.#no('address');
        view = this.#scratch;
        at = 0;
      }
      const flags = view.getUint16(at + VRING_DESC_FLAGS_OFFSET, true);
      const next = view.getUint16(at + VRING_DESC_NEXT_OFFSET, true);
      if ((flags & VRING_DESC_F_INDIRECT) !== 0) return this.#no('nested-table');
      const address =
        view.getUint32(at + VRING_DESC_ADDR_OFFSET + 4, true) * WINDOW +
        view.getUint32(at + VRING_DESC_ADDR_OFFSET, true);
      const bytes = view.getUint32(at + VRING_DESC_LEN_OFFSET, true);
      if (!this.#add(address, bytes, (flags & VRING_DESC_F_WRITE) !== 0)) return false;
      if ((flags & VRING_DESC_F_NEXT) === 0) return true;
      id = next;
      if (id >= count) return this.#no('next');
    }
  }

  /** Puts a descriptor together that begins in one stretch and ends in another. */
  #gather(entry: number): boolean {
    for (let i = 0; i < VRING_DESC_SIZE; i++) {
      const place = this.memory.find(entry + i);
      if (place === -1) return false;
      this.#scratch.setUint8(i, this.memory.bytes[place]![entry + i - this.memory.starts[place]!]!);
    }
    return true;
  }

  /** Adds what a descriptor describes, in as many pieces as there are stretches (translate_desc()). */
  #add(start: number, length: number, writable: boolean): boolean {
    if (writable) this.writableBytes += length;
    // VIRTIO 1.3 §2.7.4.2 Driver Requirements: Message Framing.
    else if (this.segments > this.readable) return this.#no('order');
    else this.readableBytes += length;
    const { memory } = this;
    let address = start;
    for (let left = length; left > 0; ) {
      const place = memory.find(address);
      if (place === -1) return this.#no('address');
      const n = this.segments;
      if (n === SEGMENTS_MAX) return this.#no('segments');
      const piece = Math.min(left, memory.ends[place]! - address);
      this.places[n] = place;
      this.addresses[n] = address;
      this.lengths[n] = piece;
      this.segments = n + 1;
      address += piece;
      left -= piece;
    }
    if (!writable) this.readable = this.segments;
    return true;
  }

  #write(head: number, length: number): void {
    const slot = ((this.#used + this.#staged) & this.#mask) * 2;
    this.#usedElements[slot] = head;
    this.#usedElements[slot + 1] = length;
    this.#inflight?.use(head);
    this.#staged++;
  }

  /** Writes what is used as far as nothing before it is missing. */
  #writeInOrder(): void {
    const done = this.#done!;
    const taken = this.#taken!;
    for (; this.#oldest !== this.#next; this.#oldest = advance(this.#oldest, 1)) {
      const head = taken[this.#oldest & this.#mask]!;
      const written = done[head]!;
      if (written === 0) return;
      done[head] = 0;
      this.#write(head, written - 1);
    }
  }

  /** The elements from a slot on, which may go round, and the index. */
  #logUsed(slot: number, count: number): void {
    const elements = this.usedAddress + VRING_USED_RING_OFFSET;
    const before = Math.min(count, this.size - slot);
    this.log?.(elements + slot * VRING_USED_ELEM_SIZE, before * VRING_USED_ELEM_SIZE);
    if (count > before) this.log?.(elements, Math.min(count - before, this.size) * VRING_USED_ELEM_SIZE);
    this.log?.(this.usedAddress + VRING_USED_IDX_OFFSET, 2);
  }

  /** The word by which kicks are asked for: the flags, or the event at the end. */
  #logWords(): void {
    if (this.log === undefined || this.usedAddress === -1) return;
    this.log(this.usedAddress + (this.#eventIdx ? this.#availEvent : FLAGS) * 2, 2);
  }

  #no(fault: RingFault): false {
    this.fault = fault;
    return false;
  }

  #bad(fault: RingFault): typeof BAD_CHAIN {
    this.fault = fault;
    return BAD_CHAIN;
  }
}
