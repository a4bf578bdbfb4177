import { endianness } from 'node:os';
import {
  VRING_AVAIL_F_NO_INTERRUPT,
  VRING_AVAIL_RING_OFFSET,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
  VRING_DESC_SIZE,
  VRING_NUM_MAX,
  VRING_USED_F_NO_NOTIFY,
  VRING_USED_RING_OFFSET,
} from '../abi/virtio-ring.js';
import { checkInteger, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Region } from '../memory/region.js';
import { type SplitRingLayout, splitRingLayout } from './layout.js';
import { advance, distance, passes } from './ring-index.js';
import { RingJournal } from './ring-journal.js';

const WINDOW = 2 ** 32;
/** Bytes that a chain may have, so that one word tells them and who may write. */
const MAX_CHAIN = 2 ** 31 - 1;
/** Both rings begin with `flags` and `idx`, as 16-bit words. */
const FLAGS = 0;
const INDEX = 1;

export interface DriverRingOptions {
  readonly region: Region;
  /** Bytes from the start of the region to the ring, a multiple of 16; `layout.bytes` long. */
  readonly offset: number;
  /** Descriptors: a power of two up to 32,768. */
  readonly size: number;
  /** VIRTIO_F_EVENT_IDX is agreed. */
  readonly eventIdx?: boolean;
  /** VIRTIO_F_INDIRECT_DESC is agreed: a table of `entries` descriptors for each head, from `offset` in the region. */
  readonly indirect?: { readonly offset: number; readonly entries: number };
  /**
   * VIRTIO_F_IN_ORDER is agreed: the device returns chains in the order of posting, and may tell of several by the last
   * (VIRTIO 1.3 §2.7.9 In-order use of descriptors).
   */
  readonly inOrder?: boolean;
  /** Index at which both rings start. */
  readonly base?: number;
  /** Where the ring remembers what another driver would have to know; memory of its own by default. */
  readonly journal?: RingJournal;
  /** Takes the ring over as another driver left it, with everything in flight; only once no device works on it. */
  readonly takeOver?: boolean;
  /** The queue this ring serves; told in errors. */
  readonly queue?: number;
}

/** One piece of a chain. */
export interface ChainPiece {
  readonly guestPhysicalAddress: number;
  /** Bytes. */
  readonly length: number;
}

/** Where a ring lies. */
export interface RingAddresses {
  readonly descriptorTable: bigint;
  readonly availableRing: bigint;
  readonly usedRing: bigint;
  /** Guest physical address of the used ring, under which writes to it are logged. */
  readonly log: bigint;
}

/**
 * The driver's side of a split ring (VIRTIO 1.3 §2.7 Split Virtqueues).
 *
 * A round is: post chains (`post`, or `begin` … `end`), `publish` once, kick if it says so; later `reap` once and
 * read `heads` and `lengths`. Nothing here allocates. What the device writes is checked before it is believed: at
 * the first lie `corruption` is set, nothing after it is handed out, and the ring stands until `reclaim`. Nothing that
 * the program writes is: `checkHeader` is for whoever posts frames here.
 *
 * Invariant: `free` + the descriptors of all chains in flight = `size`.
 */
export class DriverRing {
  readonly size: number;
  readonly layout: SplitRingLayout;
  readonly region: Region;
  /** Bytes from the start of the region. */
  readonly offset: number;
  /** What the last `reap` or `reclaim` took, in the order in which the device returned it: heads … */
  readonly heads: Uint16Array;
  /** … and bytes the device wrote into each (0 for a chain it could only read). */
  readonly lengths: Uint32Array;
  /** Batches published for which the device wanted no kick. */
  kicksSuppressed = 0;
  /** Why this ring stands, if it does; whoever finds that what it carried cannot be true sets it. */
  corruption: VhostError | undefined;

  readonly #eventIdx: boolean;
  readonly #inOrder: boolean;
  readonly #queue: number | undefined;
  readonly #mask: number;
  #descriptors: Uint32Array;
  #available: Uint16Array;
  #usedWords: Uint16Array;
  #usedElements: Uint32Array;
  readonly #usedEvent: number;
  readonly #availEvent: number;

  // What the driver believes is kept apart from the shared memory, so that no device can change it.
  readonly #freeStack: Uint16Array;
  readonly #link: Uint16Array;
  /** By slot of the available ring: the head that was offered there last. */
  readonly #offered: Uint16Array;
  #journal: RingJournal;
  /** By head: descriptors of the table that the chain takes; 0 where the head is not in flight. */
  #taken: Uint16Array;
  /**
   * By head: bytes that the device may read or, where it may write any, the complement of how many of those. One word, for
   * completions come in any order, and what costs then is what is fetched from memory.
   */
  readonly #sizes: Int32Array;
  #free: number;
  #inFlight = 0;
  #availableIndex: number;
  #publishedIndex: number;
  #lastUsed: number;
  /** In order: of the chains that one used element stands for, those still to be reaped, and the length that it tells. */
  #batchLeft = 0;
  #batchWritten = 0;

  #tables: Uint32Array | undefined;
  readonly #tableEntries: number;
  readonly #tableAddress: number;

  // The chain between `begin` and `end`; its descriptors stay on the free stack until `end`.
  #chainHead = 0;
  #chainLast = 0;
  #chainLength = 0;
  #chainAdded = 0;
  #chainWritable = 0;
  #chainReadable = 0;
  #chainIndirect = false;

  constructor(options: DriverRingOptions) {
    if (endianness() !== 'LE')
      throw new VhostError('ERR_VHOST_UNSUPPORTED', 'vrings are little-endian; this host is not');
    const { region, offset, size } = options;
    this.layout = splitRingLayout(size);
    if (!Number.isInteger(offset) || offset < 0 || offset % 16 !== 0)
      throw wrongValue('offset', 'a multiple of 16 (VIRTIO 1.3 §2.7 Split Virtqueues)', offset);
    if (offset + this.layout.bytes > region.size)
      throw wrongValue('offset', `such that ${this.layout.bytes} bytes of ring lie in the region`, offset);
    this.size = size;
    this.region = region;
    this.offset = offset;
    this.checkOpen();
    this.#mask = size - 1;
    this.#eventIdx = options.eventIdx ?? false;
    this.#inOrder = options.inOrder ?? false;
    this.#queue = options.queue;
    if (this.#inOrder && options.journal !== undefined)
      throw wrongValue(
        'inOrder',
        'false with a journal: the used ring leaves out which heads came back',
        true,
      );
    const { buffer } = region;
    const usedRing = offset + this.layout.usedRing;
    this.#descriptors = new Uint32Array(buffer, offset, (size * VRING_DESC_SIZE) / 4);
    this.#available = new Uint16Array(buffer, offset + this.layout.availableRing, 3 + size);
    this.#usedWords = new Uint16Array(buffer, usedRing, 3 + 4 * size);
    this.#usedElements = new Uint32Array(buffer, usedRing + VRING_USED_RING_OFFSET, 2 * size);
    this.#usedEvent = VRING_AVAIL_RING_OFFSET / 2 + size;
    this.#availEvent = VRING_USED_RING_OFFSET / 2 + 4 * size;

    this.heads = new Uint16Array(size);
    this.lengths = new Uint32Array(size);
    this.#freeStack = Uint16Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#link = new Uint16Array(size);
    this.#offered = new Uint16Array(size);
    this.#journal = options.journal ?? RingJournal.own(size);
    this.#taken = this.#journal.taken;
    this.#sizes = new Int32Array(size);
    this.#free = size;

    const base = checkInteger('base', options.base ?? 0, 0, 0xffff);
    this.#availableIndex = base;
    this.#publishedIndex = base;
    this.#lastUsed = base;
    if (!options.takeOver) {
      this.#available.fill(0);
      this.#usedWords.fill(0);
      this.#available[INDEX] = base;
      this.#usedWords[INDEX] = base;
      this.#taken.fill(0);
      this.#journal.reaped = base;
      this.#journal.cut = 0;
    }

    const { indirect } = options;
    this.#tableEntries = indirect?.entries ?? 0;
    this.#tableAddress = region.guestPhysicalAddress + (indirect?.offset ?? 0);
    if (indirect !== undefined) {
      checkInteger('indirect.entries', indirect.entries, 1, VRING_NUM_MAX);
      const bytes = size * indirect.entries * VRING_DESC_SIZE;
      if (indirect.offset % 16 !== 0 || indirect.offset < 0 || !(indirect.offset + bytes <= region.size))
        throw wrongValue(
          'indirect.offset',
          `a multiple of 16 such that ${bytes} bytes of tables lie in the region`,
          indirect.offset,
        );
      this.#tables = new Uint32Array(buffer, indirect.offset, bytes / 4);
    }
    if (options.takeOver) this.#takeOver();
  }

  /** Where the device finds the ring: user addresses of its parts, and the guest physical address of the used ring. */
  get addresses(): RingAddresses {
    const { layout, region, offset } = this;
    const start = region.userAddress + BigInt(offset);
    return {
      descriptorTable: start + BigInt(layout.descriptorTable),
      availableRing: start + BigInt(layout.availableRing),
      usedRing: start + BigInt(layout.usedRing),
      log: BigInt(region.guestPhysicalAddress + offset + layout.usedRing),
    };
  }

  /** Where the device finds the ring if its addresses go through an IOMMU: guest physical addresses of its parts. */
  get guestAddresses(): RingAddresses {
    const { layout, region, offset } = this;
    const start = BigInt(region.guestPhysicalAddress + offset);
    const usedRing = start + BigInt(layout.usedRing);
    return {
      descriptorTable: start + BigInt(layout.descriptorTable),
      availableRing: start + BigInt(layout.availableRing),
      usedRing,
      log: usedRing,
    };
  }

  /** Where the ring remembers what another driver would have to know. */
  get journal(): RingJournal {
    return this.#journal;
  }

  /** Descriptors that can be used now. */
  get free(): number {
    return this.#free;
  }

  /** Chains posted and not yet reaped. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Chains posted and not yet published. */
  get unpublished(): number {
    return distance(this.#publishedIndex, this.#availableIndex);
  }

  /** Where a device that is attached next begins (VHOST_SET_VRING_BASE): at the first chain that none has returned. */
  get base(): number {
    return advance(this.#availableIndex, this.reapable - this.#inFlight);
  }

  /** Chains that the device was shown and has not returned. */
  get untaken(): number {
    return this.#inFlight - this.reapable - this.unpublished;
  }

  /**
   * Whether the device asks to be told of the next chain though it has some: they are too few for what it has. Only with
   * VIRTIO_F_EVENT_IDX does it say so.
   */
  get wantsMore(): boolean {
    this.checkOpen();
    if (!this.#eventIdx || this.corruption !== undefined) return false;
    return Atomics.load(this.#usedWords, this.#availEvent) === this.#publishedIndex && this.untaken > 0;
  }

  /** Has the device that is attached next say anew at which chain it wants a kick. */
  forgetKick(): void {
    this.checkOpen();
    if (this.#eventIdx) Atomics.store(this.#usedWords, this.#availEvent, advance(this.#publishedIndex, -1));
  }

  /** Chains that a device which was detached at the available index `base` took and never returned. */
  lost(base: number): number {
    return this.#inFlight - this.reapable - distance(base, this.#availableIndex);
  }

  /** Heads of the chains in flight: those that the device has returned and nobody has reaped first, then by age. */
  get headsInFlight(): number[] {
    const heads: number[] = [];
    for (let i = 0; i < this.reapable; i++) heads.push(this.#usedElements[this.#usedSlot(i)]!);
    for (let index = this.base; index !== this.#availableIndex; index = advance(index, 1))
      heads.push(this.#offered[index & this.#mask]!);
    return heads;
  }

  /** The pieces of a chain in flight, as the table says. */
  pieces(head: number): ChainPiece[] {
    const pieces: ChainPiece[] = [];
    const add = (table: Uint32Array, entry: number): void => {
      const word = entry * 4;
      const guestPhysicalAddress = table[word + 1]! * WINDOW + table[word]!;
      pieces.push({ guestPhysicalAddress, length: table[word + 2]! });
    };
    const entries = this.#entries(head);
    for (let i = 0; i < entries; i++) add(this.#tables!, head * this.#tableEntries + i);
    if (entries === 0)
      for (let left = this.#taken[head]!, id = head; left > 0; left--, id = this.#link[id]!)
        add(this.#descriptors, id);
    return pieces;
  }

  /**
   * Leaves the ring to another driver, after the device was detached: what happens here from now on, happens to a copy.
   */
  leave(): void {
    this.#journal = this.#journal.copy();
    this.#taken = this.#journal.taken;
    this.#descriptors = this.#descriptors.slice();
    this.#available = this.#available.slice();
    const used = this.#usedWords.slice();
    this.#usedWords = used;
    this.#usedElements = new Uint32Array(used.buffer, VRING_USED_RING_OFFSET, 2 * this.size);
    this.#tables = this.#tables?.slice();
  }

  /** Refuses what would go to memory that is no more. */
  checkOpen(): void {
    if (!this.region.mapped)
      throw new VhostError('ERR_VHOST_CLOSED', 'the memory that the ring lies in is closed', {
        queue: this.#queue,
      });
  }

  /** Whether a chain with this head is in flight. */
  isInFlight(head: number): boolean {
    return head < this.size && this.#taken[head] !== 0;
  }

  /**
   * Posts a chain of one descriptor: `length` bytes from a guest physical address, for the device to read, or to
   * write where `writable`. The head, or -1 where no descriptor is free. What is in the bytes is not looked at: a
   * virtio-net header that the kernel's worker stumbles over makes it spin for ever, so `checkHeader` comes first.
   * ERR_VHOST_OUT_OF_RANGE: more than 2^31 - 1 bytes.
   */
  post(addressHigh: number, addressLow: number, length: number, writable: boolean): number {
    if (this.#free === 0) return -1;
    checkChain(length);
    this.#chainLength = 0;
    const head = this.#freeStack[--this.#free]!;
    const word = head * 4;
    const table = this.#descriptors;
    table[word] = addressLow;
    table[word + 1] = addressHigh;
    table[word + 2] = length;
    table[word + 3] = writable ? VRING_DESC_F_WRITE : 0;
    this.#taken[head] = 1;
    this.#sizes[head] = writable ? ~length : length;
    this.#offer(head);
    return head;
  }

  /**
   * Begins a chain of `count` descriptors; false where there is no room for it. Then `add` each, readable ones
   * first (VIRTIO 1.3 §2.7.4.2 Driver Requirements: Message Framing), and `end` it. A chain that is not ended
   * before the next `post` or `begin` never was. ERR_VHOST_OUT_OF_RANGE: the ring never holds so many.
   */
  begin(count: number): boolean {
    const indirect = count > 1 && count <= this.#tableEntries;
    // VIRTIO 1.3 §2.7.5.3.1 Driver Requirements: Indirect Descriptors: no chain is longer than the queue. As in Linux one in
    // a table may be (virtqueue_add_split()), which vhost takes (get_indirect()): a queue of 8 could send no segment else.
    if (count < 1 || (!indirect && count > this.size))
      throw wrongValue('count', `from 1 to ${Math.max(this.size, this.#tableEntries)}`, count);
    const wanted = indirect ? 1 : count;
    if (this.#free < wanted) return false;
    this.#chainIndirect = indirect;
    this.#chainLength = count;
    this.#chainAdded = 0;
    this.#chainWritable = 0;
    this.#chainReadable = 0;
    this.#chainHead = this.#freeStack[this.#free - 1]!;
    return true;
  }

  /** Adds a descriptor to the chain that `begin` began. */
  add(addressHigh: number, addressLow: number, length: number, writable: boolean): void {
    const position = this.#chainAdded++;
    if (position >= this.#chainLength)
      throw wrongValue('count', 'the number of descriptors added', this.#chainLength);
    if (writable) this.#chainWritable += length;
    else if (this.#chainWritable > 0)
      throw wrongValue('writable', 'true after the first writable descriptor of a chain', writable);
    else this.#chainReadable += length;
    const more = position + 1 < this.#chainLength;
    const flags = (writable ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0);
    if (this.#chainIndirect) {
      const entry = this.#chainHead * this.#tableEntries + position;
      writeDescriptor(this.#tables!, entry, addressHigh, addressLow, length, flags, more ? position + 1 : 0);
      return;
    }
    const top = this.#free - 1 - position;
    const id = this.#freeStack[top]!;
    const next = more ? this.#freeStack[top - 1]! : 0;
    writeDescriptor(this.#descriptors, id, addressHigh, addressLow, length, flags, next);
    if (position > 0) this.#link[this.#chainLast] = id;
    this.#chainLast = id;
  }

  /** Posts the chain that `begin` began; its head. ERR_VHOST_OUT_OF_RANGE: more than 2^31 - 1 bytes. */
  end(): number {
    checkChain(this.#chainReadable + this.#chainWritable);
    if (this.#chainAdded !== this.#chainLength || this.#chainLength === 0)
      throw wrongValue('count', `the number of descriptors added (${this.#chainAdded})`, this.#chainLength);
    const head = this.#chainHead;
    if (this.#chainIndirect) {
      const table = this.#tableAddress + head * this.#tableEntries * VRING_DESC_SIZE;
      writeDescriptor(
        this.#descriptors,
        head,
        Math.floor(table / WINDOW),
        table % WINDOW,
        this.#chainLength * VRING_DESC_SIZE,
        VRING_DESC_F_INDIRECT,
        0,
      );
    }
    const taken = this.#chainIndirect ? 1 : this.#chainLength;
    this.#taken[head] = taken;
    this.#free -= taken;
    this.#sizes[head] = this.#chainWritable > 0 ? ~this.#chainWritable : this.#chainReadable;
    this.#chainLength = 0;
    this.#offer(head);
    return head;
  }

  /**
   * Shows the device every chain posted since the last time; true where it wants a kick
   * (VIRTIO 1.3 §2.7.13 Supplying Buffers to The Device). No header is checked here: see `post`. ERR_VHOST_CLOSED: the
   * memory of the ring is closed.
   */
  publish(): boolean {
    this.checkOpen();
    const before = this.#publishedIndex;
    const after = this.#availableIndex;
    if (after === before) return false;
    // Sequentially consistent store and load: the index is seen before the device's wish is read (§2.7.13.4).
    Atomics.store(this.#available, INDEX, after);
    this.#publishedIndex = after;
    const kick = this.#eventIdx
      ? passes(Atomics.load(this.#usedWords, this.#availEvent), after, before)
      : (Atomics.load(this.#usedWords, FLAGS) & VRING_USED_F_NO_NOTIFY) === 0;
    if (!kick) this.kicksSuppressed++;
    return kick;
  }

  /**
   * Takes up to `limit` chains that the device has returned, into `heads` and `lengths`, and no further one once those
   * carry `bytes`: those written or, where the device could only read, those read; how many (VIRTIO 1.3 §2.7.14 Receiving
   * Used Buffers From The Device). Their descriptors are free at once.
   */
  reap(limit: number = this.size, bytes?: number): number {
    // Once a batch; a limit that is no number of chains would set the ring off its index for good.
    checkInteger('limit', limit, 0, Number.MAX_SAFE_INTEGER);
    this.checkOpen();
    if (this.corruption !== undefined) return 0;
    const waiting = distance(this.#lastUsed, Atomics.load(this.#usedWords, INDEX));
    if (waiting === 0) return 0;
    const published = this.#inFlight - this.unpublished;
    if (waiting > published) {
      this.#corrupt(`moved the used index by ${waiting} with ${published} chains in flight`);
      return 0;
    }
    const count = Math.min(waiting, limit);
    if (this.#inOrder) return this.#reapInOrder(count, waiting, bytes);
    const { size } = this;
    const elements = this.#usedElements;
    const mask = this.#mask;
    const first = this.#lastUsed;
    let reaped = 0;
    for (let left = bytes ?? 1; reaped < count && left > 0; reaped++) {
      const slot = ((first + reaped) & mask) * 2;
      const head = elements[slot]!;
      const told = elements[slot + 1]!;
      if (head >= size || this.#taken[head] === 0) {
        this.#corrupt(
          head >= size
            ? `returned head ${head} of a ring of ${size}`
            : `returned head ${head}, which is not in flight`,
        );
        break;
      }
      const carried = this.#take(reaped, head, told);
      if (carried === -1) break;
      if (bytes !== undefined) left -= carried;
    }
    this.#reapedTo(advance(first, reaped));
    return reaped;
  }

  /** Chains that the device has returned and `reap` has not yet taken. */
  get reapable(): number {
    this.checkOpen();
    if (this.corruption !== undefined) return 0;
    return distance(this.#lastUsed, Atomics.load(this.#usedWords, INDEX));
  }

  /**
   * Asks for a call once `after` more chains are used; true where they already are, in which case no call may come
   * and `reap` is due (VIRTIO 1.3 §2.7.7 Used Buffer Notification Suppression).
   */
  enableCalls(after = 1): boolean {
    this.checkOpen();
    if (this.#eventIdx) Atomics.store(this.#available, this.#usedEvent, advance(this.#lastUsed, after - 1));
    else Atomics.store(this.#available, FLAGS, 0);
    return this.corruption === undefined && this.reapable >= after;
  }

  /**
   * Sees to it that a call comes once `after` more chains are used, or sooner where one is due; true where they are used
   * already. Only with VIRTIO_F_EVENT_IDX.
   */
  callWithin(after: number): boolean {
    if (!this.#eventIdx) return false;
    const used = Atomics.load(this.#usedWords, INDEX);
    if (distance(used, this.#available[this.#usedEvent]!) < after) return false;
    Atomics.store(this.#available, this.#usedEvent, advance(used, after - 1));
    return distance(used, Atomics.load(this.#usedWords, INDEX)) >= after;
  }

  /** Asks for no calls; with EVENT_IDX the device may still send one each 65,536 chains. */
  disableCalls(): void {
    this.checkOpen();
    if (this.#eventIdx) Atomics.store(this.#available, this.#usedEvent, advance(this.#lastUsed, -1));
    else Atomics.store(this.#available, FLAGS, VRING_AVAIL_F_NO_INTERRUPT);
  }

  /**
   * Takes chains in flight back into `heads`, after `reap`, once the device is detached; how many. Those are all of
   * them, or, where `base` tells at which available index the device stopped, those that it took and never returned.
   * The ring is sound again, and a device attached next begins at `base`.
   */
  reclaim(base: number = this.#availableIndex): number {
    this.checkOpen();
    const untaken = distance(base, this.#availableIndex);
    if (untaken > this.#inFlight)
      throw wrongValue('base', 'an index between the first and last chain in flight', base);
    const kept = new Uint8Array(this.size);
    for (let i = 0; i < untaken; i++) kept[this.#offered[(base + i) & this.#mask]!] = 1;
    let count = 0;
    for (let head = 0; head < this.size; head++) {
      if (this.#taken[head] === 0 || kept[head] === 1) continue;
      this.heads[count++] = head;
      this.#recycle(head);
    }
    this.#publishedIndex = this.#availableIndex;
    this.#batchLeft = 0;
    // vhost_vq_init_access() reads the used index back from memory when a backend is set. It counts all that came back,
    // whoever gave it back: a device can tell by it and by what it has in flight which chain is next.
    this.#reapedTo(base);
    Atomics.store(this.#usedWords, INDEX, base);
    Atomics.store(this.#available, INDEX, this.#availableIndex);
    this.corruption = undefined;
    return count;
  }

  /** Descriptors in the indirect table of a chain; 0 where it has none. */
  #entries(head: number): number {
    const flags = this.#descriptors[head * 4 + 3]!;
    if (this.#tables === undefined || (flags & VRING_DESC_F_INDIRECT) === 0) return 0;
    return Math.min(this.#descriptors[head * 4 + 2]! / VRING_DESC_SIZE, this.#tableEntries);
  }

  #usedSlot(i: number): number {
    return ((this.#lastUsed + i) & this.#mask) * 2;
  }

  #reapedTo(index: number): void {
    this.#lastUsed = index;
    this.#journal.reaped = index;
  }

  /** Believes the journal, and the device's side of the ring as far as it can be true. */
  #takeOver(): void {
    const { size } = this;
    const mask = this.#mask;
    const used = Atomics.load(this.#usedWords, INDEX);
    const published = Atomics.load(this.#available, INDEX);
    let reaped = this.#journal.reaped;
    let waiting = distance(reaped, used);
    if (waiting > size) throw this.#untrue(`moved the used index by ${waiting} with ${size} descriptors`);
    // The driver ended amid a batch: what is no longer in flight it had taken.
    for (; waiting > 0 && this.#taken[this.#usedElements[(reaped & mask) * 2]!] === 0; waiting--)
      reaped = advance(reaped, 1);
    this.#reapedTo(reaped);
    const open = new Set<number>();
    for (let head = 0; head < size; head++) if (this.#taken[head] !== 0) open.add(head);
    const inFlight = [...open];
    for (let i = 0; i < waiting; i++) {
      const head = this.#usedElements[this.#usedSlot(i)]!;
      if (!open.delete(head)) throw this.#untrue(`returned head ${head}, which is not in flight`);
    }
    const order = this.#byAge(open, published, Math.max(0, open.size - distance(used, published)));
    for (const [i, head] of order.entries()) {
      const slot = (used + i) & mask;
      this.#available[VRING_AVAIL_RING_OFFSET / 2 + slot] = head;
      this.#offered[slot] = head;
    }
    this.#inFlight = inFlight.length;
    this.#availableIndex = advance(used, order.length);
    this.#publishedIndex = this.#availableIndex;
    Atomics.store(this.#available, INDEX, this.#availableIndex);
    this.#readChains(inFlight);
  }

  /**
   * Heads that the device has not returned, oldest first, as the available ring last bore them: `unpublished` of them it
   * was not shown yet. One that is older than the ring is long bears no slot any more.
   */
  #byAge(open: ReadonlySet<number>, published: number, unpublished: number): number[] {
    const left = new Set(open);
    const newestFirst: number[] = [];
    for (let i = 1; i <= this.size; i++) {
      const slot = advance(published, unpublished - i) & this.#mask;
      const head = this.#available[VRING_AVAIL_RING_OFFSET / 2 + slot]!;
      if (left.delete(head)) newestFirst.push(head);
    }
    return [...left, ...newestFirst.reverse()];
  }

  /** Which descriptors the chains in flight take, and which are free. */
  #readChains(heads: readonly number[]): void {
    const used = new Uint8Array(this.size);
    for (const head of heads) {
      let writable = 0;
      let readable = 0;
      const count = (table: Uint32Array, entry: number): void => {
        const length = table[entry * 4 + 2]!;
        if ((table[entry * 4 + 3]! & VRING_DESC_F_WRITE) !== 0) writable += length;
        else readable += length;
      };
      const entries = this.#entries(head);
      for (let left = this.#taken[head]!, id = head; left > 0; left--) {
        if (id >= this.size || used[id] === 1) throw this.#untrue(`broke the chain of head ${head}`);
        used[id] = 1;
        if (entries === 0) count(this.#descriptors, id);
        const next = this.#descriptors[id * 4 + 3]! >>> 16;
        this.#link[id] = next;
        id = next;
      }
      const first = head * this.#tableEntries;
      for (let i = 0; i < entries; i++) count(this.#tables!, first + i);
      this.#sizes[head] = writable > 0 ? ~Math.min(writable, MAX_CHAIN) : Math.min(readable, MAX_CHAIN);
    }
    this.#free = 0;
    for (let id = this.size - 1; id >= 0; id--) if (used[id] === 0) this.#freeStack[this.#free++] = id;
  }

  #offer(head: number): void {
    const slot = this.#availableIndex & this.#mask;
    this.#available[VRING_AVAIL_RING_OFFSET / 2 + slot] = head;
    this.#offered[slot] = head;
    this.#availableIndex = (this.#availableIndex + 1) & 0xffff;
    this.#inFlight++;
  }

  /** As `reap`, of the `waiting` chains the oldest first; an element stands for all up to the one that it names. */
  #reapInOrder(count: number, waiting: number, bytes: number | undefined): number {
    const mask = this.#mask;
    let reaped = 0;
    for (let left = bytes ?? 1; reaped < count && left > 0; reaped++) {
      const oldest = advance(this.#availableIndex, -this.#inFlight);
      if (this.#batchLeft === 0) {
        const slot = (this.#lastUsed & mask) * 2;
        const last = this.#usedElements[slot]!;
        const most = waiting - reaped;
        let length = 1;
        while (length <= most && this.#offered[(oldest + length - 1) & mask] !== last) length++;
        if (length > most) {
          this.#corrupt(`returned head ${last}, which is none of the ${most} oldest in flight`);
          break;
        }
        this.#batchLeft = length;
        this.#batchWritten = this.#usedElements[slot + 1]!;
      }
      const head = this.#offered[oldest & mask]!;
      // What is skipped was used completely.
      const told = this.#batchLeft > 1 ? Math.max(0, ~this.#sizes[head]!) : this.#batchWritten;
      const carried = this.#take(reaped, head, told);
      if (carried === -1) break;
      if (bytes !== undefined) left -= carried;
      this.#batchLeft--;
      this.#lastUsed = advance(this.#lastUsed, 1);
    }
    return reaped;
  }

  /**
   * Takes a chain that the device returned and says to have written `told` bytes of, as number `position` of what is reaped
   * now; the bytes it carried, or -1 where that cannot be true.
   */
  #take(position: number, head: number, told: number): number {
    const size = this.#sizes[head]!;
    const isWritable = size < 0;
    if (isWritable && told > ~size) {
      this.#corrupt(`wrote ${told} bytes into the ${~size} of head ${head}`);
      return -1;
    }
    this.heads[position] = head;
    // A device that can only read writes nothing, whatever it says (VIRTIO 1.3 §2.7.8 The Virtqueue Used Ring).
    this.lengths[position] = isWritable ? told : 0;
    this.#recycle(head);
    return isWritable ? told : size;
  }

  #recycle(head: number): void {
    this.#freeStack[this.#free++] = head;
    for (let left = this.#taken[head]!, id = head; left > 1; left--) {
      id = this.#link[id]!;
      this.#freeStack[this.#free++] = id;
    }
    this.#taken[head] = 0;
    this.#inFlight--;
  }

  #corrupt(what: string): void {
    this.corruption = this.#untrue(what);
  }

  #untrue(what: string): VhostError {
    return new VhostError('ERR_VHOST_RING_CORRUPT', `the device ${what}`, { queue: this.#queue });
  }
}

function checkChain(bytes: number): void {
  if (bytes > MAX_CHAIN)
    throw wrongValue('length', `such that a chain has at most ${MAX_CHAIN} bytes`, bytes);
}

function writeDescriptor(
  table: Uint32Array,
  entry: number,
  addressHigh: number,
  addressLow: number,
  length: number,
  flags: number,
  next: number,
): void {
  const word = entry * 4;
  table[word] = addressLow;
  table[word + 1] = addressHigh;
  table[word + 2] = length;
  table[word + 3] = flags | (next << 16);
}
