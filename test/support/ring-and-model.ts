import assert from 'node:assert/strict';
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import type { Region } from '../../lib/memory/region.js';
import { DriverRing } from '../../lib/vring/driver-ring.js';
import { splitRingLayout } from '../../lib/vring/layout.js';
import { RingJournal } from '../../lib/vring/ring-journal.js';
import type { DeviceSide } from './device-on-ring.js';
import { FakeKernel } from './fake-kernel.js';
import { type Chain, ModelDevice, type Segment } from './model-device.js';
import type { Random } from './random.js';

export interface RingOptions {
  readonly size: number;
  readonly eventIdx?: boolean;
  readonly inOrder?: boolean;
  /** Descriptors of each indirect table; none without. */
  readonly indirect?: number;
  readonly base?: number;
  /** What plays the device's side; the model unless told. */
  readonly attach?: (ring: DriverRing, eventIdx: boolean) => DeviceSide;
}

/** A driver's ring in memory of its own. */
export function makeRing({ size, indirect = 0, attach: _, ...rest }: RingOptions): {
  ring: DriverRing;
  region: Region;
  journal: RingJournal;
  /** Another driver on the same memory, which takes over what the one before it left. */
  successor: () => DriverRing;
} {
  const memory = new GuestMemory(new FakeKernel());
  const { bytes } = splitRingLayout(size);
  // The ring does not begin where its region does, so that a forgotten offset shows.
  const offset = 4096;
  const region = memory.addRegion({ size: offset + bytes + 16 * size * indirect });
  const tables = indirect > 0 && { indirect: { offset: offset + bytes, entries: indirect } };
  const journal = RingJournal.own(size);
  const options = { region, offset, size, queue: 1, ...rest, ...tables, ...(!rest.inOrder && { journal }) };
  return {
    ring: new DriverRing(options),
    region,
    journal,
    successor: () => new DriverRing({ ...options, takeOver: true }),
  };
}

/** The device's side of a ring, from where the driver says. */
export function attachModel(ring: DriverRing, eventIdx: boolean): ModelDevice {
  const { region, offset, layout, size } = ring;
  return new ModelDevice({
    buffer: region.buffer,
    descriptorTable: offset + layout.descriptorTable,
    availableRing: offset + layout.availableRing,
    usedRing: offset + layout.usedRing,
    size,
    eventIdx,
    translate: (gpa) => Number(gpa) - region.guestPhysicalAddress,
    base: ring.base,
  });
}

/** A chain that the driver posted. */
interface Posted {
  readonly head: number;
  /** Which of all that were ever posted. */
  readonly serial: number;
  readonly segments: readonly Segment[];
  /** Descriptors of the ring that it takes. */
  readonly descriptors: number;
  readonly writable: number;
}

/** A chain that the device is done with. */
interface Used {
  readonly head: number;
  readonly length: number;
}

/**
 * A driver's ring, the device's side, and beside them plain lists of what must be true of both. Every operation
 * is done to all and compared.
 */
export class RingAndModel {
  ring: DriverRing;
  device: DeviceSide;
  readonly #journal: RingJournal;
  readonly #successor: () => DriverRing;
  readonly #attach: (ring: DriverRing, eventIdx: boolean) => DeviceSide;
  readonly #random: Random;
  readonly #eventIdx: boolean;
  readonly #indirect: number;
  /** By head. */
  readonly inFlight = new Map<number, Posted>();
  #descriptors = 0;
  /** In the order of their posting. */
  #unpublished: Posted[] = [];
  #published: Posted[] = [];
  #held: Posted[] = [];
  #staged: Used[] = [];
  #used: Used[] = [];
  /** Counted from the beginning of time, so that nothing wraps. */
  #usedCount: number;
  #calledCount: number;
  #reapedCount: number;
  /** The used count at whose passing a call is wanted; undefined where the flag says no calls. */
  #wanted: number | undefined;
  posted = 0;
  returned = 0;
  readonly #returnedSerials = new Set<number>();

  constructor(options: RingOptions, random: Random) {
    const { ring, journal, successor } = makeRing(options);
    this.ring = ring;
    this.#journal = journal;
    this.#successor = successor;
    this.#random = random;
    this.#eventIdx = options.eventIdx ?? false;
    this.#indirect = options.indirect ?? 0;
    this.#attach = options.attach ?? attachModel;
    this.device = this.#attach(this.ring, this.#eventIdx);
    const base = options.base ?? 0;
    this.#usedCount = base;
    this.#calledCount = base;
    this.#reapedCount = base;
    // Both event words are 0 at first, as the flags are: calls and kicks are wanted.
    this.#wanted = 0;
  }

  /** What holds at every observable moment. */
  check(): void {
    const { ring } = this;
    assert.equal(ring.free + this.#descriptors, ring.size, 'free + descriptors in flight = size');
    assert.equal(ring.inFlight, this.inFlight.size);
    assert.equal(ring.unpublished, this.#unpublished.length);
    assert.equal(ring.reapable, this.#used.length);
    const head = this.#random.below(ring.size);
    assert.equal(ring.isInFlight(head), this.inFlight.has(head));
  }

  /** A chain of one descriptor. */
  post(): void {
    const segment = this.#segment(this.#random.oneIn(2));
    const head = this.ring.post(high(segment), low(segment), segment.length, segment.writable);
    if (this.#descriptors === this.ring.size) assert.equal(head, -1, 'a full ring takes nothing');
    else this.#enter(head, [segment], 1);
  }

  /** A chain of `count`, in the ring or in a table beside it. */
  postChain(count: number): void {
    const { ring } = this;
    const descriptors = count > 1 && count <= this.#indirect ? 1 : count;
    if (descriptors > ring.size) {
      assert.throws(() => ring.begin(count), { code: 'ERR_VHOST_OUT_OF_RANGE' });
      return;
    }
    const begun = ring.begin(count);
    assert.equal(begun, this.#descriptors + descriptors <= ring.size);
    if (!begun) return;
    const readable = this.#random.between(0, count);
    const segments = Array.from({ length: count }, (_, i) => this.#segment(i >= readable));
    for (const segment of segments) ring.add(high(segment), low(segment), segment.length, segment.writable);
    this.#enter(ring.end(), segments, descriptors);
  }

  /** A chain that is begun and never ended: as if it had not been. */
  dropChain(count: number): void {
    if (count > this.ring.size || !this.ring.begin(count)) return;
    for (let i = this.#random.below(count); i > 0; i--) this.ring.add(0xdead, 0xbeef, 1, false);
  }

  publish(): void {
    const from = this.device.availableIndex + this.#published.length;
    const kick = this.device.wantsKick(from & 0xffff, (from + this.#unpublished.length) & 0xffff);
    assert.equal(this.ring.publish(), kick, 'the driver kicks exactly where the device asked for it');
    this.#published.push(...this.#unpublished);
    this.#unpublished = [];
  }

  /** The device takes chains and finds them as they were posted. */
  take(count: number): void {
    assert.equal(this.device.available(), this.#published.length);
    for (let i = 0; i < count; i++) {
      const chain = this.device.take();
      const expected = this.#published.shift();
      assert.equal(chain === undefined, expected === undefined);
      if (chain === undefined || expected === undefined) return;
      sameChain(chain, expected);
      this.#held.push(expected);
    }
  }

  /** The device is done with `count` of what it holds, whichever. */
  complete(count: number): void {
    for (let i = 0; i < count && this.#held.length > 0; i++) {
      const { head, writable } = this.#random.draw(this.#held);
      const length = writable === 0 ? 0 : this.#random.between(0, writable);
      this.device.complete(head, length);
      this.#staged.push({ head, length });
    }
  }

  /** The device shows what it is done with and calls exactly where the driver asked for it. */
  publishUsed(): void {
    assert.equal(this.device.publish(), this.#staged.length);
    this.#usedCount += this.#staged.length;
    this.#used.push(...this.#staged);
    this.#staged = [];
  }

  /** The device calls exactly where the driver asked for it. */
  call(): void {
    let wanted = false;
    for (let at = this.#calledCount; at < this.#usedCount; at++) {
      if (this.#wanted === undefined) break;
      if (!this.#eventIdx || (at & 0xffff) === (this.#wanted & 0xffff)) wanted = true;
    }
    this.#calledCount = this.#usedCount;
    assert.equal(this.device.shouldCall(), wanted, 'the device calls exactly where the driver asked for it');
  }

  enableCalls(after: number | undefined): void {
    const due = this.ring.enableCalls(after);
    const chains = after ?? 1;
    assert.equal(due, this.#used.length >= chains, 'told where the chains are there already');
    this.#wanted = this.#reapedCount + chains - 1;
  }

  disableCalls(): void {
    this.ring.disableCalls();
    this.#wanted = this.#eventIdx ? this.#reapedCount - 1 : undefined;
  }

  /** The device asks for kicks or for none. */
  askForKicks(): void {
    if (this.#eventIdx && this.#random.oneIn(2))
      this.device.setAvailEvent(
        (this.device.availableIndex + this.#random.below(2 * this.ring.size)) & 0xffff,
      );
    else this.device.suppressKicks(this.#random.oneIn(2));
  }

  /** The driver takes what came back: the oldest first, and no more than it asked for. */
  reap(limit: number | undefined): void {
    const { ring } = this;
    const count = ring.reap(limit);
    const expected = this.#used.splice(0, Math.min(limit ?? ring.size, this.#used.length));
    assert.equal(ring.corruption, undefined);
    assert.equal(count, expected.length);
    this.#reapedCount += count;
    for (const [i, { head, length }] of expected.entries()) {
      assert.equal(ring.heads[i], head);
      assert.equal(ring.lengths[i], length);
      this.#leave(head);
    }
  }

  /**
   * The device is detached, whatever it held; the driver takes back what it took and never returned, and of what it
   * had not taken all or, where `keep`, nothing. Another device goes on from there.
   */
  replaceDevice(keep: boolean): void {
    const { ring } = this;
    if (this.#random.oneIn(2)) this.reap(undefined);
    const untaken = keep ? [...this.#published, ...this.#unpublished] : [];
    const lost = new Set(this.inFlight.keys());
    for (const { head } of untaken) lost.delete(head);
    const base = this.device.availableIndex;
    assert.equal(ring.lost(base), this.#held.length + this.#staged.length);
    const count = keep ? ring.reclaim(base) : ring.reclaim();
    const heads = Array.from(ring.heads.subarray(0, count));
    assert.deepEqual(new Set(heads), lost, 'reclaim takes back what is lost');
    assert.equal(heads.length, lost.size, 'and each chain once');
    for (const head of heads) this.#leave(head);
    this.#published = untaken;
    this.#unpublished = [];
    this.#held = [];
    this.#staged = [];
    this.#used = [];
    // What was taken back counts as used: the used index stays in step with what is in flight.
    this.#reapedCount += count;
    this.#usedCount = this.#reapedCount;
    this.#calledCount = this.#reapedCount;
    if (keep) assert.equal(ring.base, base);
    else assert.equal(ring.free, ring.size);
    // The driver may post before it has a device again.
    for (let i = this.#random.below(3); i > 0; i--) this.post();
    this.device = this.#attach(ring, this.#eventIdx);
  }

  /**
   * The driver ends, at whatever point, and its device with it; another driver takes the ring over with all that is in
   * flight, and another device everything that the first had not returned.
   */
  replaceDriver(): void {
    const before = this.ring;
    const { reaped } = this.#journal;
    if (this.#random.oneIn(2)) this.reap(this.#random.below(before.size + 1));
    // Killed amid the reaping: nobody was told what came back, but it was taken out of the books.
    if (this.#random.oneIn(2)) this.#journal.reaped = reaped;
    if (this.#random.oneIn(2)) {
      before.leave();
      before.reclaim();
      assert.equal(before.free, before.size);
    }
    const ring = this.#successor();
    this.ring = ring;
    const heads = ring.headsInFlight;
    const returned = this.#used.map(({ head }) => head);
    assert.deepEqual(heads.slice(0, returned.length), returned, 'what came back comes first');
    const untaken = [...this.#published, ...this.#unpublished];
    const again = heads.slice(returned.length).map((head) => this.inFlight.get(head)!);
    assert.deepEqual(
      again.slice(again.length - untaken.length),
      untaken,
      'what no device had taken comes last, in its order',
    );
    assert.deepEqual(
      new Set(again.slice(0, again.length - untaken.length)),
      new Set([...this.#held, ...this.#staged.map(({ head }) => this.inFlight.get(head)!)]),
    );
    for (const head of heads) {
      const pieces = ring
        .pieces(head)
        .map(({ guestPhysicalAddress, length }) => [guestPhysicalAddress, length]);
      const { segments } = this.inFlight.get(head)!;
      assert.deepEqual(
        pieces,
        segments.map(({ gpa, length }) => [Number(gpa), length]),
      );
    }
    this.#published = again;
    this.#unpublished = [];
    this.#held = [];
    this.#staged = [];
    this.#calledCount = this.#usedCount;
    this.check();
    for (let i = this.#random.below(3); i > 0; i--) this.post();
    this.device = this.#attach(ring, this.#eventIdx);
  }

  /** Everything comes home. */
  finish(): void {
    this.publish();
    this.take(this.ring.size);
    this.complete(this.ring.size);
    this.publishUsed();
    this.reap(undefined);
    this.check();
    assert.equal(this.ring.free, this.ring.size);
    assert.equal(this.inFlight.size, 0);
    assert.equal(this.returned, this.posted, 'every chain came back exactly once');
  }

  #segment(writable: boolean): Segment {
    const random = this.#random;
    return {
      // Any address will do: nobody looks behind it.
      gpa: (BigInt(random.below(2 ** 20)) << 32n) | BigInt(random.word()),
      length: random.between(1, 2 ** 18),
      writable,
    };
  }

  #enter(head: number, segments: readonly Segment[], descriptors: number): void {
    assert.ok(head >= 0 && head < this.ring.size, `head ${head}`);
    assert.ok(!this.inFlight.has(head), `head ${head} is given out while it is in flight`);
    const writable = segments.reduce((sum, segment) => sum + (segment.writable ? segment.length : 0), 0);
    const posted = { head, serial: this.posted++, segments, descriptors, writable };
    this.inFlight.set(head, posted);
    this.#descriptors += descriptors;
    this.#unpublished.push(posted);
  }

  #leave(head: number): void {
    const posted = this.inFlight.get(head);
    assert.ok(posted, `head ${head} came back and was not in flight`);
    this.inFlight.delete(head);
    this.#descriptors -= posted.descriptors;
    assert.ok(!this.#returnedSerials.has(posted.serial));
    this.#returnedSerials.add(posted.serial);
    this.returned++;
  }
}

function sameChain(chain: Chain, expected: Posted): void {
  assert.equal(chain.head, expected.head);
  assert.equal(chain.segments.length, expected.segments.length);
  for (const [i, segment] of chain.segments.entries()) {
    const { gpa, length, writable } = expected.segments[i]!;
    if (segment.gpa !== gpa || segment.length !== length || segment.writable !== writable)
      assert.deepEqual(segment, expected.segments[i]);
  }
}

function high({ gpa }: Segment): number {
  return Number(gpa >> 32n);
}

function low({ gpa }: Segment): number {
  return Number(gpa & 0xffff_ffffn);
}
