import { GuestMemory } from '../../lib/memory/guest-memory.js';
import type { Region } from '../../lib/memory/region.js';
import { DeviceRing, type DeviceRingOptions, type RingParts } from '../../lib/vring/device-ring.js';
import { splitRingLayout } from '../../lib/vring/layout.js';
import { mapOf } from './device-on-ring.js';
import { FakeKernel } from './fake-kernel.js';

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

const PAGE = 4096;

/**
 * A ring that a test writes word by word, as a driver would that keeps no rule, and the device's side of it. Memory is
 * three regions: the first two follow each other at guest physical addresses and nowhere else, the third stands apart.
 * The ring is in the third.
 */
export class RingInMemory {
  readonly regions: readonly Region[];
  readonly device: DeviceRing;
  readonly parts: RingParts;
  readonly size: number;
  /** Of the third region: all that is not the used ring lies before this. */
  readonly usedRing: number;
  readonly #ring: DataView;
  readonly #available: number;

  constructor(size: number, options: Partial<DeviceRingOptions> = {}) {
    const memory = new GuestMemory(new FakeKernel());
    const layout = splitRingLayout(size);
    this.size = size;
    this.regions = [
      memory.addRegion({ size: PAGE, guestPhysicalAddress: 0x10_0000 }),
      memory.addRegion({ size: PAGE, guestPhysicalAddress: 0x10_1000 }),
      memory.addRegion({ size: layout.bytes + PAGE, guestPhysicalAddress: 0x20_0000 }),
    ];
    const { buffer } = this.regions[2]!;
    this.parts = {
      descriptorTable: { buffer, offset: 0 },
      availableRing: { buffer, offset: layout.availableRing },
      usedRing: { buffer, offset: layout.usedRing },
    };
    this.usedRing = layout.usedRing;
    this.#available = layout.availableRing;
    this.#ring = new DataView(buffer);
    this.device = new DeviceRing({ parts: this.parts, size, memory: mapOf(...this.regions), ...options });
  }

  /** Writes a descriptor of the ring, or of a table at an offset of the first region. */
  describe(id: number, gpa: number, length: number, flags = 0, next = 0, table?: number): void {
    const view = table === undefined ? this.#ring : new DataView(this.regions[0]!.buffer);
    const at = (table ?? 0) + 16 * id;
    view.setBigUint64(at, BigInt(gpa), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, next, true);
  }

  /** Makes heads available. */
  offer(...heads: number[]): void {
    for (const head of heads) {
      const index = this.availableIndex;
      this.#ring.setUint16(this.#available + 4 + 2 * (index % this.size), head, true);
      this.availableIndex = index + 1;
    }
  }

  get availableIndex(): number {
    return this.#ring.getUint16(this.#available + 2, true);
  }

  set availableIndex(index: number) {
    this.#ring.setUint16(this.#available + 2, index & 0xffff, true);
  }

  set availableFlags(flags: number) {
    this.#ring.setUint16(this.#available, flags, true);
  }

  set usedEvent(index: number) {
    this.#ring.setUint16(this.#available + 4 + 2 * this.size, index & 0xffff, true);
  }

  get usedFlags(): number {
    return this.#ring.getUint16(this.usedRing, true);
  }

  get usedIndex(): number {
    return this.#ring.getUint16(this.usedRing + 2, true);
  }

  set usedIndex(index: number) {
    this.#ring.setUint16(this.usedRing + 2, index & 0xffff, true);
  }

  get availEvent(): number {
    return this.#ring.getUint16(this.usedRing + 4 + 8 * this.size, true);
  }

  /** A used element: head and length. */
  used(index: number): [number, number] {
    const at = this.usedRing + 4 + 8 * (index % this.size);
    return [this.#ring.getUint32(at, true), this.#ring.getUint32(at + 4, true)];
  }
}
