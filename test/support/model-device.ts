/**
 * A model of the device's side of a split ring, written after the spec alone (VIRTIO 1.3 §2.7 Split
 * Virtqueues) and sharing nothing with the package: a DataView, one step at a time, every rule checked where it
 * stands. Slow, and meant to be plainly right.
 */

/** A buffer of a chain, as the driver described it. */
export interface Segment {
  /** Guest physical address. */
  readonly gpa: bigint;
  readonly length: number;
  /** Whether the device may write to it; otherwise it may read. */
  readonly writable: boolean;
}

/** What the driver made available: one chain. */
export interface Chain {
  readonly head: number;
  readonly segments: readonly Segment[];
}

/** Where the ring is: byte offsets in `buffer`. */
export interface ModelDeviceOptions {
  readonly buffer: ArrayBuffer;
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
  readonly size: number;
  /** Whether VIRTIO_RING_F_EVENT_IDX was agreed. */
  readonly eventIdx: boolean;
  /** Offset in `buffer` of a guest physical address. */
  readonly translate: (gpa: bigint) => number;
  /** Available index to begin with; 0 unless told. The used index is read from the ring. */
  readonly base?: number;
}

/** The driver broke a rule of the spec. */
export class DriverFault extends Error {
  override readonly name = 'DriverFault';
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

interface Descriptor {
  readonly gpa: bigint;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

export class ModelDevice {
  private readonly view: DataView;
  private readonly options: ModelDeviceOptions;
  /** Chains taken and not yet completed, with the bytes that may be written to each. */
  private readonly held = new Map<number, number>();
  private readonly staged: { id: number; length: number }[] = [];
  private nextAvailable: number;
  private nextUsed: number;
  /** Used index at the last answer of shouldCall(). */
  private lastCalled: number;

  constructor(options: ModelDeviceOptions) {
    this.options = options;
    this.view = new DataView(options.buffer);
    this.nextAvailable = options.base ?? 0;
    this.nextUsed = this.u16(options.usedRing + 2);
    this.lastCalled = this.nextUsed;
  }

  /** Available index up to which chains were taken. */
  get availableIndex(): number {
    return this.nextAvailable;
  }

  /** Available index up to which the driver has shown chains. */
  get shownIndex(): number {
    return this.u16(this.options.availableRing + 2);
  }

  /** Used index that the driver sees. */
  get usedIndex(): number {
    return this.u16(this.options.usedRing + 2);
  }

  /** Heads taken and not yet completed, oldest first. */
  get heldHeads(): number[] {
    return [...this.held.keys()];
  }

  /** Chains that the driver made available and that were not taken yet. */
  available(): number {
    const count = minus(this.shownIndex, this.nextAvailable);
    if (count > this.options.size)
      throw new DriverFault(`the available index is ${count} ahead of a ring of ${this.options.size}`);
    return count;
  }

  /** The next chain in the order in which the driver offered them; `undefined` where there is none. */
  take(): Chain | undefined {
    if (this.available() === 0) return undefined;
    const slot = this.nextAvailable % this.options.size;
    const head = this.u16(this.options.availableRing + 4 + 2 * slot);
    if (head >= this.options.size) throw new DriverFault(`head ${head} in a ring of ${this.options.size}`);
    if (this.held.has(head)) throw new DriverFault(`head ${head} is offered while it is in flight`);
    const segments = this.chain(head);
    this.held.set(
      head,
      segments.filter(({ writable }) => writable).reduce((sum, { length }) => sum + length, 0),
    );
    this.nextAvailable = plus(this.nextAvailable, 1);
    return { head, segments };
  }

  /** Gives the chain taken last back: it is the next to be taken. */
  discard(head: number): void {
    if (!this.held.delete(head)) throw new Error(`the model does not hold head ${head}`);
    this.nextAvailable = minus(this.nextAvailable, 1);
  }

  /** All the chains that are available. */
  takeAll(): Chain[] {
    const chains: Chain[] = [];
    for (let chain = this.take(); chain; chain = this.take()) chains.push(chain);
    return chains;
  }

  /** Stages the completion of a held chain of which `length` bytes were written; `publish` shows it. */
  complete(head: number, length: number): void {
    const writable = this.held.get(head);
    if (writable === undefined) throw new Error(`the model does not hold head ${head}`);
    if (length > writable) throw new Error(`${length} bytes do not fit the ${writable} of head ${head}`);
    this.held.delete(head);
    this.staged.push({ id: head, length });
  }

  /** Writes what is staged into the used ring, moves the used index once; how many elements it was. */
  publish(): number {
    const count = this.staged.length;
    for (const { id, length } of this.staged.splice(0)) {
      const element = this.options.usedRing + 4 + 8 * (this.nextUsed % this.options.size);
      this.view.setUint32(element, id, true);
      this.view.setUint32(element + 4, length, true);
      this.nextUsed = plus(this.nextUsed, 1);
    }
    this.view.setUint16(this.options.usedRing + 2, this.nextUsed, true);
    return count;
  }

  /**
   * Writes what is staged, which are the oldest chains taken, as one element that names the last (VIRTIO 1.3 §2.7.9
   * In-order use of descriptors); how many chains it was.
   */
  publishInOrder(): number {
    const count = this.staged.length;
    if (count === 0) return 0;
    const { id, length } = this.staged.splice(0).at(-1)!;
    const element = this.options.usedRing + 4 + 8 * (this.nextUsed % this.options.size);
    this.view.setUint32(element, id, true);
    this.view.setUint32(element + 4, length, true);
    this.nextUsed = plus(this.nextUsed, count);
    this.view.setUint16(this.options.usedRing + 2, this.nextUsed, true);
    return count;
  }

  /** Completes one chain and publishes. */
  use(head: number, length: number): void {
    this.complete(head, length);
    this.publish();
  }

  /**
   * Whether the driver wants a call for what was published since this was last asked (VIRTIO 1.3 §2.7.7 Used
   * Buffer Notification Suppression).
   */
  shouldCall(): boolean {
    const from = this.lastCalled;
    this.lastCalled = this.nextUsed;
    if (from === this.nextUsed) return false;
    if (this.options.eventIdx) {
      const usedEvent = this.u16(this.options.availableRing + 4 + 2 * this.options.size);
      return passes(from, this.nextUsed, usedEvent);
    }
    return (this.u16(this.options.availableRing) & 1) === 0;
  }

  /** Asks for a kick when the entry of this available index is made available (VIRTIO_RING_F_EVENT_IDX). */
  setAvailEvent(index: number): void {
    if (!this.options.eventIdx) throw new Error('without VIRTIO_RING_F_EVENT_IDX there is no avail_event');
    this.view.setUint16(this.options.usedRing + 4 + 8 * this.options.size, index, true);
  }

  /**
   * Asks for no kicks, or for one at the next chain; chains that came meanwhile bring none, so look at
   * available() afterwards.
   */
  suppressKicks(suppress: boolean): void {
    // An event just behind is not passed again before the index has gone round.
    if (this.options.eventIdx) this.setAvailEvent(suppress ? minus(this.nextAvailable, 1) : this.shownIndex);
    else this.view.setUint16(this.options.usedRing, suppress ? 1 : 0, true);
  }

  /**
   * Whether a driver that moved its available index from `from` to `to` must kick (VIRTIO 1.3 §2.7.10 Available
   * Buffer Notification Suppression).
   */
  wantsKick(from: number, to: number): boolean {
    if (from === to) return false;
    if (this.options.eventIdx)
      return passes(from, to, this.u16(this.options.usedRing + 4 + 8 * this.options.size));
    return (this.u16(this.options.usedRing) & 1) === 0;
  }

  /** Lie: an element with an id that no ring of this size has. */
  lieOutOfRange(id = this.options.size): void {
    this.lie(id, 0);
  }

  /** Lie: an element for a descriptor that is not the head of a chain in flight. */
  lieNotInFlight(id: number, length = 0): void {
    if (this.held.has(id)) throw new Error(`head ${id} is in flight: that would be no lie`);
    this.lie(id, length);
  }

  /** Lie: a chain completed twice. */
  lieTwice(head: number, length = 0): void {
    this.complete(head, length);
    this.staged.push({ id: head, length });
    this.publish();
  }

  /** Lie: more bytes written than the chain has room for. */
  lieTooLong(head: number, excess = 1): void {
    const writable = this.held.get(head);
    if (writable === undefined) throw new Error(`the model does not hold head ${head}`);
    this.held.delete(head);
    this.lie(head, writable + excess);
  }

  /** Lie: the used index moves without elements, backwards too. */
  lieIndexJump(by: number): void {
    this.nextUsed = plus(this.nextUsed, by);
    this.view.setUint16(this.options.usedRing + 2, this.nextUsed, true);
  }

  private lie(id: number, length: number): void {
    this.staged.push({ id, length });
    this.publish();
  }

  /** The segments of a chain, through an indirect table where there is one. */
  private chain(head: number): Segment[] {
    const { descriptorTable, size, translate } = this.options;
    const first = this.descriptor(descriptorTable, head);
    if ((first.flags & INDIRECT) === 0) return this.walk(descriptorTable, size, head);
    // VIRTIO 1.3 §2.7.5.3 Indirect Descriptors.
    if (first.flags & NEXT) throw new DriverFault(`descriptor ${head} is both indirect and continued`);
    if (first.length === 0 || first.length % 16 !== 0)
      throw new DriverFault(`an indirect table of ${first.length} bytes`);
    return this.walk(translate(first.gpa), first.length / 16, 0);
  }

  private walk(table: number, size: number, start: number): Segment[] {
    const segments: Segment[] = [];
    const seen = new Set<number>();
    for (let index = start; ; ) {
      if (index >= size) throw new DriverFault(`next ${index} in a table of ${size}`);
      if (seen.has(index)) throw new DriverFault(`the chain comes back to descriptor ${index}`);
      seen.add(index);
      const { gpa, length, flags, next } = this.descriptor(table, index);
      if (flags & INDIRECT) throw new DriverFault(`descriptor ${index} leads to a table from within a chain`);
      const writable = (flags & WRITE) !== 0;
      // VIRTIO 1.3 §2.7.4.2 Driver Requirements: Message Framing.
      if (!writable && segments.at(-1)?.writable)
        throw new DriverFault(`descriptor ${index} is to be read and comes after one to be written`);
      segments.push({ gpa, length, writable });
      if ((flags & NEXT) === 0) return segments;
      index = next;
    }
  }

  private descriptor(table: number, index: number): Descriptor {
    const at = table + 16 * index;
    return {
      gpa: this.view.getBigUint64(at, true),
      length: this.view.getUint32(at + 8, true),
      flags: this.u16(at + 12),
      next: this.u16(at + 14),
    };
  }

  private u16(offset: number): number {
    return this.view.getUint16(offset, true);
  }
}

function plus(index: number, by: number): number {
  return (index + by) & 0xffff;
}

function minus(index: number, by: number): number {
  return (index - by) & 0xffff;
}

/** Whether a counter that steps from `from` to `to` leaves `event` behind: each step is taken. */
function passes(from: number, to: number, event: number): boolean {
  for (let index = from; index !== to; index = plus(index, 1)) if (index === event) return true;
  return false;
}
