import assert from 'node:assert/strict';
import { AddressMap } from '../../lib/memory/address-map.js';
import type { Region } from '../../lib/memory/region.js';
import { DeviceRing, type DeviceRingOptions, NO_CHAIN, type RingParts } from '../../lib/vring/device-ring.js';
import type { DriverRing } from '../../lib/vring/driver-ring.js';
import type { Chain, ModelDevice } from './model-device.js';

/** What a test of a driver's ring asks of the device's side. */
export type DeviceSide = Pick<
  ModelDevice,
  | 'availableIndex'
  | 'available'
  | 'take'
  | 'complete'
  | 'publish'
  | 'shouldCall'
  | 'setAvailEvent'
  | 'suppressKicks'
  | 'wantsKick'
>;

/** Where a driver's ring lies. */
export function partsOf({ region: { buffer }, offset, layout }: DriverRing): RingParts {
  return {
    descriptorTable: { buffer, offset: offset + layout.descriptorTable },
    availableRing: { buffer, offset: offset + layout.availableRing },
    usedRing: { buffer, offset: offset + layout.usedRing },
  };
}

/** The whole of a region, and around it nothing. */
export function mapOf(...regions: readonly Region[]): AddressMap {
  return new AddressMap(regions.map((region) => ({ ...stretchOf(region), offset: 0 })));
}

function stretchOf({ guestPhysicalAddress, size, userAddress, buffer }: Region) {
  return { guestPhysicalAddress, size, userAddress, buffer };
}

/** An address map that has every address: beside the region there is room without bytes, at which nobody looks. */
function everywhere(region: Region): AddressMap {
  const end = region.guestPhysicalAddress + region.size;
  const map = new AddressMap([
    { ...stretchOf(region), offset: 0 },
    { guestPhysicalAddress: 0, size: 0, userAddress: 0n, buffer: region.buffer, offset: 0 },
    { guestPhysicalAddress: end, size: 0, userAddress: 0n, buffer: region.buffer, offset: 0 },
  ]);
  map.ends[1] = region.guestPhysicalAddress;
  map.ends[2] = 2 ** 53;
  return map;
}

/** The chain that a ring parsed last, as the driver described it. */
export function parsed(ring: DeviceRing, head: number): Chain {
  const segments = Array.from({ length: ring.segments }, (_, i) => ({
    gpa: BigInt(ring.addresses[i]!),
    length: ring.lengths[i]!,
    writable: i >= ring.readable,
  }));
  return { head, segments };
}

/** A `DeviceRing` in the place of the model of a device. */
export class DeviceOnRing implements DeviceSide {
  readonly ring: DeviceRing;
  readonly #eventIdx: boolean;
  readonly #words: Uint16Array;
  readonly #available: Uint16Array;
  #first = true;
  #calledAt: number;

  constructor(driver: DriverRing, eventIdx: boolean, options: Partial<DeviceRingOptions> = {}) {
    const parts = partsOf(driver);
    const { size } = driver;
    const memory = everywhere(driver.region);
    this.ring = new DeviceRing({ parts, size, memory, eventIdx, base: driver.base, ...options });
    this.#eventIdx = eventIdx;
    this.#words = new Uint16Array(parts.usedRing.buffer, parts.usedRing.offset, 3 + 4 * size);
    this.#available = new Uint16Array(parts.availableRing.buffer, parts.availableRing.offset, 3 + size);
    this.#calledAt = this.#words[1]!;
  }

  get availableIndex(): number {
    return this.ring.base;
  }

  available(): number {
    return (this.#available[1]! - this.ring.base) & 0xffff;
  }

  take(): Chain | undefined {
    const head = this.ring.take();
    assert.equal(this.ring.fault, undefined);
    if (head === NO_CHAIN) return undefined;
    const chain = parsed(this.ring, head);
    const bytes = (writable: boolean): number =>
      chain.segments.reduce((sum, segment) => sum + (segment.writable === writable ? segment.length : 0), 0);
    assert.equal(this.ring.readableBytes, bytes(false));
    assert.equal(this.ring.writableBytes, bytes(true));
    return chain;
  }

  complete(head: number, length: number): void {
    this.ring.use(head, length);
  }

  publish(): number {
    return this.ring.publish();
  }

  shouldCall(): boolean {
    const got = this.ring.wantsCall();
    const [from, to] = [this.#calledAt, this.#words[1]!];
    this.#calledAt = to;
    if (!this.#first || from === to) return got;
    // The first call comes whether it is wanted or not; what is wanted is found step by step.
    this.#first = false;
    if (!this.#eventIdx) return got;
    assert.equal(got, true);
    const event = this.#available[2 + this.ring.size]!;
    for (let index = from; index !== to; index = (index + 1) & 0xffff) if (index === event) return true;
    return false;
  }

  setAvailEvent(index: number): void {
    this.#words[2 + 4 * this.ring.size] = index;
  }

  suppressKicks(suppress: boolean): void {
    if (suppress) this.ring.disableKicks();
    else this.ring.enableKicks();
  }

  wantsKick(from: number, to: number): boolean {
    if (from === to) return false;
    if (!this.#eventIdx) return (this.#words[0]! & 1) === 0;
    const event = this.#words[2 + 4 * this.ring.size]!;
    for (let index = from; index !== to; index = (index + 1) & 0xffff) if (index === event) return true;
    return false;
  }
}
