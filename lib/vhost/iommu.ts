import { checkInteger, checkOptions, wrongValue } from '../errors/check.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Iotlb, Translation, Translator } from './iotlb.js';
import type { IotlbAccess } from './iotlb-message.js';

/** Bytes that are translated at once unless told otherwise. */
const GRANULE = 4096;

export interface IommuOptions {
  /** Bytes that one translation covers at most, a power of two; 4,096 by default. */
  readonly granule?: number;
  /** Whether an address that nothing was said of is a guest physical address, open to all access; so by default. */
  readonly passthrough?: boolean;
}

/** Where I/O virtual addresses lead. */
export interface IommuMapping {
  /** Where the first of them leads. */
  readonly guestPhysicalAddress: number;
  /** Bytes. */
  readonly size: number;
  /** 'rw' by default. A used ring needs 'rw': the kernel reads from it too. */
  readonly access?: IotlbAccess;
}

/** A range with an entry of its own; no target where it was unmapped. */
interface Entry {
  readonly start: number;
  readonly end: number;
  readonly target: number | undefined;
  readonly access: IotlbAccess;
}

/**
 * An IOMMU of guest memory that translates on demand: devices learn of an address when they ask for it, a granule at a
 * time, and forget it when it is mapped anew or unmapped.
 */
export class Iommu implements Translator {
  readonly #memory: GuestMemory;
  readonly #granule: number;
  readonly #passthrough: boolean;
  readonly #devices = new Set<Iotlb>();
  /** In order, disjoint. */
  readonly #entries: Entry[] = [];

  constructor(memory: GuestMemory, options: IommuOptions = {}) {
    checkOptions('options', options, ['granule', 'passthrough']);
    const granule = checkInteger('granule', options.granule ?? GRANULE, 1, 2 ** 40);
    if (!Number.isInteger(Math.log2(granule))) throw wrongValue('granule', 'a power of two', granule);
    this.#memory = memory;
    this.#granule = granule;
    this.#passthrough = options.passthrough ?? true;
  }

  /** Maps a range in place of what was there; resolves when no device has that any more. */
  map(iova: number, mapping: IommuMapping): Promise<void> {
    checkOptions('mapping', mapping, ['guestPhysicalAddress', 'size', 'access']);
    const { guestPhysicalAddress, size, access = 'rw' } = mapping;
    checkInteger('mapping.guestPhysicalAddress', guestPhysicalAddress, 0, Number.MAX_SAFE_INTEGER);
    if (!['ro', 'wo', 'rw'].includes(access)) throw wrongValue('mapping.access', 'one of ro, wo, rw', access);
    return this.#set(iova, size, guestPhysicalAddress, access);
  }

  /** Takes a range back; resolves when no device reaches it any more. */
  unmap(iova: number, size: number): Promise<void> {
    return this.#set(iova, size, undefined, 'rw');
  }

  translate(iova: bigint): Translation | undefined {
    const address = Number(iova);
    if (!Number.isSafeInteger(address)) return undefined;
    const next = this.#after(address);
    const before = this.#entries[next - 1];
    const entry =
      before !== undefined && address < before.end
        ? before
        : this.#unmentioned(before?.end ?? 0, this.#entries[next]?.start);
    if (entry?.target === undefined) return undefined;
    const shift = entry.target - entry.start;
    const region = this.#memory.find(address + shift);
    if (region === undefined) return undefined;
    const granule = Math.floor(address / this.#granule) * this.#granule;
    const start = Math.max(granule, entry.start, region.guestPhysicalAddress - shift);
    const end = Math.min(
      granule + this.#granule,
      entry.end,
      region.guestPhysicalAddress + region.size - shift,
    );
    return {
      iova: BigInt(start),
      size: BigInt(end - start),
      userAddress: region.userAddress + BigInt(start + shift - region.guestPhysicalAddress),
      access: entry.access,
    };
  }

  attach(iotlb: Iotlb): void {
    this.#devices.add(iotlb);
  }

  detach(iotlb: Iotlb): void {
    this.#devices.delete(iotlb);
  }

  #unmentioned(start: number, end = Number.MAX_SAFE_INTEGER): Entry | undefined {
    return this.#passthrough ? { start, end, target: start, access: 'rw' } : undefined;
  }

  /** The index of the first entry that begins after an address. */
  #after(address: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.start <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #set(iova: number, size: number, target: number | undefined, access: IotlbAccess): Promise<void> {
    const start = checkInteger('iova', iova, 0, Number.MAX_SAFE_INTEGER);
    const end = start + checkInteger('size', size, 1, Number.MAX_SAFE_INTEGER - start);
    const entries = this.#entries;
    const from = Math.max(0, this.#after(start) - 1);
    let to = from;
    const kept: Entry[] = [];
    for (; to < entries.length && entries[to]!.start < end; to++) {
      const entry = entries[to]!;
      if (entry.start < start) kept.push({ ...entry, end: Math.min(entry.end, start) });
      if (entry.end > end) {
        const moved = entry.target === undefined ? undefined : entry.target + end - entry.start;
        kept.push({ ...entry, start: end, target: moved });
      }
    }
    kept.push({ start, end, target, access });
    entries.splice(from, to - from, ...kept.sort((a, b) => a.start - b.start));
    await Promise.all(Array.from(this.#devices, (device) => device.invalidate(BigInt(start), BigInt(size))));
  }
}
