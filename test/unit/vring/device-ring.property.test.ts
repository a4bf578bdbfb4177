import assert from 'node:assert/strict';
import { BAD_CHAIN, NO_CHAIN, type RingFault } from '../../../lib/vring/device-ring.js';
import { Inflight, inflightBytes } from '../../../lib/vring/inflight.js';
import { long, property, type Random, runs } from '../../support/random.js';
import { INDIRECT, NEXT, RingInMemory, WRITE } from '../../support/ring-in-memory.js';

const CHAINS = long ? 10_000_000 : 400_000;

/** A driver that keeps few rules: most words are likely, some are anything. */
class HostileDriver {
  readonly ring: RingInMemory;
  readonly #random: Random;
  taken = 0;
  readonly faults = new Map<RingFault, number>();
  /** Where the device notes what it has in flight, if it does. */
  readonly #notes: ArrayBuffer;

  constructor(size: number, random: Random) {
    this.#notes = new ArrayBuffer(inflightBytes(size));
    const words = new Uint32Array(this.#notes);
    if (random.oneIn(2)) for (const i of words.keys()) words[i] = random.oneIn(2) ? random.word() : 1;
    this.ring = new RingInMemory(size, {
      eventIdx: random.oneIn(2),
      inOrder: random.oneIn(3),
      notifyOnEmpty: random.oneIn(4),
      inflight: random.oneIn(2) ? new Inflight({ buffer: this.#notes, offset: 0 }, size) : undefined,
    });
    this.#random = random;
    for (let id = 0; id < size; id++) this.#describe(id, size);
    for (let id = 0; id < 256; id++) this.#describe(id, 256, 0);
    if (size >= 4 && random.oneIn(4)) this.#describeTooMany();
  }

  /** The driver changes something, whenever it likes. */
  meddle(): void {
    const random = this.#random;
    const { ring } = this;
    switch (random.below(13)) {
      case 0:
        ring.availableIndex = random.oneIn(8) ? random.word() : ring.device.base;
        break;
      case 1:
        // A word of anything anywhere, the used ring and its index among it.
        new DataView(random.pick(ring.regions).buffer).setUint32(random.below(1023) * 4, random.word(), true);
        break;
      case 2:
      case 3:
        this.#describe(random.below(255), 256, random.below(3));
        break;
      case 4:
        ring.availableFlags = random.word();
        ring.usedEvent = random.word();
        break;
      case 5:
        new DataView(this.#notes).setUint32(
          4 * random.below(this.#notes.byteLength / 4),
          random.word(),
          true,
        );
        break;
      default:
        this.#describe(random.below(ring.size), ring.size);
    }
  }

  /** Offers some, and the device takes, gives back, uses and publishes; true of every chain is what must be. */
  round(): void {
    const random = this.#random;
    const { device, size } = this.ring;
    for (let i = random.between(1, size); i > 0; i--)
      this.ring.offer(random.oneIn(50) ? random.word() & 0xffff : random.below(size));
    const heads: number[] = [];
    for (let i = 2 * size; i > 0; i--) {
      const base = device.base;
      const head = device.take();
      if (random.oneIn(3)) this.meddle();
      if (head === NO_CHAIN) break;
      this.taken++;
      if (head === BAD_CHAIN) {
        assert.equal(device.base, base);
        const fault = device.fault!;
        this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
        // What a driver does that was told of an error.
        this.ring.availableIndex = base;
        break;
      }
      assert.ok(head >= 0 && head < size);
      this.#checkSegments();
      if (random.oneIn(6)) device.discard(1);
      else heads.push(head);
    }
    while (heads.length > 0) {
      const head = random.draw(heads);
      device.parse(head);
      if (device.fault === undefined) this.#checkSegments();
      device.use(head, random.word());
      if (random.oneIn(8)) device.publish();
    }
    device.publish();
    device.wantsCall();
    if (random.oneIn(2)) device.enableKicks();
    else device.disableKicks();
  }

  /** Every piece lies in one region. */
  #checkSegments(): void {
    const { device, regions } = this.ring;
    let [readable, writable] = [0, 0];
    for (let i = 0; i < device.segments; i++) {
      const { guestPhysicalAddress, size } = regions[device.places[i]!]!;
      const [address, length] = [device.addresses[i]!, device.lengths[i]!];
      if (address < guestPhysicalAddress || length < 1 || address + length > guestPhysicalAddress + size)
        assert.fail(`${length} bytes at ${address} are outside the memory`);
      if (i < device.readable) readable += length;
      else writable += length;
    }
    assert.deepEqual([device.readableBytes, device.writableBytes], [readable, writable]);
  }

  /** Three tables of 200 descriptors, each across a border: more pieces than there may be. */
  #describeTooMany(): void {
    const { ring } = this;
    for (let id = 0; id < 200; id++) ring.describe(id, 0x10_0fff, 2, NEXT | WRITE, id + 1, 0);
    ring.describe(199, 0x10_0000, 1, WRITE, 0, 0);
    for (let id = 0; id < 3; id++) ring.describe(id, 0x10_0000, 3200, INDIRECT | (id < 2 ? NEXT : 0), id + 1);
  }

  #describe(id: number, count: number, table?: number): void {
    const random = this.#random;
    const address = random.oneIn(40) ? random.word() * random.word() : 0x10_0000 + random.below(0x1f80);
    const indirect = random.oneIn(table === undefined ? 6 : 60);
    const length = indirect
      ? random.oneIn(8)
        ? random.below(4000)
        : 16 * random.between(1, 100)
      : random.oneIn(40)
        ? random.word()
        : random.below(128);
    const flags = (random.oneIn(3) ? NEXT : 0) | (random.oneIn(3) ? WRITE : 0) | (indirect ? INDIRECT : 0);
    const next = random.oneIn(40) ? random.word() & 0xffff : random.below(count);
    this.ring.describe(id, Math.min(address, Number.MAX_SAFE_INTEGER), length, flags, next, table);
  }
}

describe('DeviceRing against drivers that keep no rule', () => {
  property(`survives ${CHAINS.toLocaleString('en')} chains of anything`, (random) => {
    const faults = new Set<RingFault>();
    let taken = 0;
    while (taken < runs(CHAINS)) {
      const driver = new HostileDriver(2 ** random.below(9), random);
      for (let i = 0; i < 100; i++) driver.round();
      taken += driver.taken;
      for (const fault of driver.faults.keys()) faults.add(fault);
    }
    // Each kind was met, or the test proves less than it says.
    if (taken >= CHAINS)
      assert.deepEqual([...faults].sort(), [
        'address',
        'head',
        'index',
        'loop',
        'nested-table',
        'next',
        'order',
        'segments',
        'table-length',
      ]);
  }).timeout(long ? 600_000 : 60_000);

  property('writes to the used ring and nowhere else', (random) => {
    for (let i = 0; i < 200; i++) {
      const size = 2 ** random.below(7);
      const driver = new HostileDriver(size, random);
      const { regions, usedRing, device } = driver.ring;
      const before = regions.map(({ bytes }) => bytes.slice());
      driver.ring.offer(...Array.from({ length: size }, () => random.below(size)));
      for (let head = device.take(); head >= 0; head = device.take()) device.use(head, random.word());
      device.publish();
      device.wantsCall();
      device.disableKicks();
      device.enableKicks();
      const after = regions.map(({ bytes }) => bytes.slice());
      // The available index was the driver's doing.
      const available = usedRing - 2 * size - 8;
      for (const [n, bytes] of after.entries()) {
        const end = n === 2 ? available : bytes.length;
        assert.deepEqual(bytes.subarray(0, end), before[n]!.subarray(0, end));
      }
      const end = usedRing + 4 + 8 * size + 2;
      assert.deepEqual(after[2]!.subarray(end), before[2]!.subarray(end));
    }
  });
});
