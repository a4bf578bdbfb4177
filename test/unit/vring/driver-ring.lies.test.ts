import assert from 'node:assert/strict';
import type { DriverRing } from '../../../lib/vring/driver-ring.js';
import type { ModelDevice } from '../../support/model-device.js';
import { property, type Random, runs } from '../../support/random.js';
import { attachModel, makeRing } from '../../support/ring-and-model.js';

/** A device that lies, and the driver that finds out. */
class Liar {
  readonly ring: DriverRing;
  readonly #random: Random;
  readonly #eventIdx: boolean;
  device: ModelDevice;
  /** By head: bytes that the device may write. */
  readonly inFlight = new Map<number, number>();
  readonly #told = new Map<string, number>();

  constructor(size: number, eventIdx: boolean, random: Random) {
    this.ring = makeRing({ size, eventIdx, base: 65_535 - random.below(size) }).ring;
    this.#random = random;
    this.#eventIdx = eventIdx;
    this.device = attachModel(this.ring, eventIdx);
  }

  /** How often each lie was told. */
  get told(): ReadonlyMap<string, number> {
    return this.#told;
  }

  /** Honest traffic, then a lie; everything before it is true, nothing after it is taken. */
  round(): void {
    const random = this.#random;
    const { ring, inFlight } = this;
    for (let i = random.between(1, ring.size); i > 0; i--) {
      const writable = random.oneIn(2) ? random.between(1, 2048) : 0;
      const head = ring.post(0, 0, writable || 60, writable > 0);
      if (head !== -1) inFlight.set(head, writable);
    }
    ring.publish();
    for (let i = random.between(0, ring.size); i > 0; i--) this.device.take();
    const honest: number[] = [];
    for (let i = random.below(3); i > 0; i--) {
      const held = this.device.heldHeads;
      if (held.length === 0) break;
      const head = random.pick(held);
      this.device.complete(head, random.between(0, inFlight.get(head)!));
      honest.push(head);
    }
    if (random.oneIn(2)) this.device.publish();
    const jumped = this.#lie(honest);

    // A jump is found before anything is taken; all that it covers is in doubt.
    const before = ring.reap(random.oneIn(4) ? 1 : undefined);
    let reaped = before;
    if (ring.corruption === undefined) reaped += this.#rest(before);
    assert.equal(ring.corruption?.code, 'ERR_VHOST_RING_CORRUPT');
    assert.equal(ring.corruption.queue, 1);
    assert.equal(reaped, jumped ? 0 : honest.length, 'what came before the lie is taken');
    this.#taken(honest.splice(0, reaped));
    this.#check();

    // The ring stands: it gives nothing out, and a call is not waited for.
    assert.equal(ring.reap(), 0);
    assert.equal(ring.reapable, 0);
    assert.equal(ring.enableCalls(), false);
    this.#check();

    // It is sound again once the device is gone.
    const reclaimed = ring.reclaim();
    assert.deepEqual(new Set(ring.heads.subarray(0, reclaimed)), new Set(inFlight.keys()));
    assert.equal(reclaimed, inFlight.size);
    inFlight.clear();
    assert.equal(ring.corruption, undefined);
    assert.equal(ring.free, ring.size);
    this.#check();
    this.device = attachModel(ring, this.#eventIdx);
  }

  /** Takes on until nothing comes, one at a time; how many. */
  #rest(before: number): number {
    // Heads of an earlier reap are the caller's to read before the next.
    const first = Array.from(this.ring.heads.subarray(0, before));
    let count = 0;
    const heads: number[] = [];
    while (this.ring.reap(1) === 1) {
      heads.push(this.ring.heads[0]!);
      count++;
    }
    this.ring.heads.set([...first, ...heads]);
    return count;
  }

  #taken(honest: readonly number[]): void {
    for (const [i, head] of honest.entries()) {
      assert.equal(this.ring.heads[i], head);
      assert.ok(this.inFlight.delete(head), `head ${head} is handed out twice`);
    }
  }

  #check(): void {
    assert.equal(this.ring.inFlight, this.inFlight.size);
    assert.equal(this.ring.free + this.inFlight.size, this.ring.size);
    for (const head of this.inFlight.keys()) assert.ok(this.ring.isInFlight(head));
  }

  /** Tells a lie that the driver can know for one; true where it is the index that lies. */
  #lie(honest: number[]): boolean {
    const { ring, device, inFlight } = this;
    const random = this.#random;
    const kinds = ['out of range', 'jump', 'jump of more than the ring', 'backwards'];
    const free = Array.from({ length: ring.size }, (_, head) => head).filter(
      (head) => !inFlight.has(head) || honest.includes(head),
    );
    // The used index counts chains: one more than is in flight is found as a jump.
    const room = honest.length < inFlight.size;
    if (free.length > 0 && room) kinds.push('not in flight');
    if (device.heldHeads.length > 0 && honest.length + 1 < inFlight.size) kinds.push('twice');
    const writable = device.heldHeads.filter((head) => inFlight.get(head)! > 0);
    if (writable.length > 0) kinds.push('too long');
    if (!room) kinds.splice(0, 1);
    const kind = random.pick(kinds);
    this.#told.set(kind, (this.#told.get(kind) ?? 0) + 1);
    switch (kind) {
      case 'out of range':
        device.lieOutOfRange(ring.size + random.pick([0, 1, 0xffff, 0x7fff_ffff, 0xffff_ffff - ring.size]));
        return false;
      case 'not in flight':
        device.lieNotInFlight(random.pick(free), random.below(100));
        return false;
      case 'twice': {
        const head = random.pick(device.heldHeads);
        device.lieTwice(head, 0);
        honest.push(head);
        return false;
      }
      case 'too long': {
        const head = random.pick(writable);
        device.lieTooLong(head, random.pick([1, 2, 0x7fff_0000]));
        return false;
      }
      case 'jump':
        device.publish();
        device.lieIndexJump(inFlight.size - honest.length + random.between(1, 3));
        return true;
      case 'backwards':
        device.publish();
        device.lieIndexJump(-honest.length - random.between(1, 3));
        return true;
      default:
        device.publish();
        device.lieIndexJump(random.between(ring.size + 1, 65_535 - honest.length));
        return true;
    }
  }
}

describe('DriverRing and a device that lies', () => {
  for (const eventIdx of [false, true])
    property(`believes none of 50,000 lies (${eventIdx ? 'EVENT_IDX' : 'flags'})`, (random) => {
      const told = new Map<string, number>();
      for (const size of [1, 2, 4, 16, 32]) {
        const liar = new Liar(size, eventIdx, random);
        for (let i = runs(10_000); i > 0; i--) liar.round();
        for (const [kind, count] of liar.told) told.set(kind, (told.get(kind) ?? 0) + count);
      }
      assert.equal(told.size, 7, `every lie was told: ${[...told.keys()].join(', ')}`);
    });

  it('says which lie it was', () => {
    const lies: [RegExp, (device: ModelDevice, heads: number[]) => void][] = [
      [/^the device returned head 8 of a ring of 8$/, (device) => device.lieOutOfRange()],
      [
        /^the device returned head \d, which is not in flight$/,
        (device, heads) => device.lieTwice(heads[0]!, 5),
      ],
      [
        /^the device wrote 101 bytes into the 100 of head \d$/,
        (device, heads) => device.lieTooLong(heads[1]!),
      ],
      [/^the device moved the used index by 4 with 3 chains in flight$/, (device) => device.lieIndexJump(4)],
      [/^the device moved the used index by 65535 with 3 chains/, (device) => device.lieIndexJump(-1)],
    ];
    for (const [message, lie] of lies) {
      const { ring } = makeRing({ size: 8 });
      const device = attachModel(ring, false);
      for (let i = 0; i < 3; i++) ring.post(0, 0, 100, true);
      ring.publish();
      lie(
        device,
        device.takeAll().map(({ head }) => head),
      );
      ring.reap();
      assert.match(ring.corruption!.message, message);
    }
  });

  it('keeps what a device had not taken from its own memory, not from the ring', () => {
    const { ring, region } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    const heads = [0, 1, 2].map(() => ring.post(0, 0, 100, true));
    ring.publish();
    device.take();
    // The device writes where only the driver may.
    region.bytes.fill(0, ring.offset + ring.layout.availableRing + 4, ring.offset + ring.layout.usedRing);
    assert.equal(ring.reclaim(device.availableIndex), 1);
    assert.equal(ring.heads[0], heads[0]);
    assert.deepEqual(
      heads.map((head) => ring.isInFlight(head)),
      [false, true, true],
    );
  });

  it('believes no base that lies before what is in flight', () => {
    const { ring } = makeRing({ size: 8 });
    ring.post(0, 0, 100, true);
    ring.publish();
    assert.throws(() => ring.reclaim(65_000), { code: 'ERR_VHOST_OUT_OF_RANGE', message: /^base must be/ });
    assert.equal(ring.inFlight, 1);
  });

  it('finds a lie about the sum of a chain', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    ring.begin(3);
    ring.add(0, 0, 1000, false);
    ring.add(0, 0, 100, true);
    ring.add(0, 0, 50, true);
    const head = ring.end();
    ring.publish();
    device.take();
    device.lieTooLong(head);
    assert.equal(ring.reap(), 0);
    assert.match(ring.corruption!.message, /wrote 151 bytes into the 150 of head/);
  });

  it('does not believe a chain to be used before it was published', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    const head = ring.post(0, 0, 100, true);
    device.lieNotInFlight(head, 10);
    assert.equal(ring.reap(), 0);
    assert.equal(ring.corruption?.code, 'ERR_VHOST_RING_CORRUPT');
  });
});
