import { checkInteger, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel, MemoryTableEntry } from '../kernel/kernel.js';
import { Region } from './region.js';

/** Where the first region lies unless told otherwise: low, so that a dirty log stays small, but never 0. */
const FIRST_GUEST_PHYSICAL_ADDRESS = 0x10_0000;

export interface RegionOptions {
  /** Bytes; rounded up to whole pages. */
  readonly size: number;
  /** Bytes of a huge page (2 MiB: 0x20_0000); 0, the default, for ordinary pages. */
  readonly hugePageSize?: number;
  /** Page-aligned; after the last region by default. */
  readonly guestPhysicalAddress?: number;
}

/** A stretch of a region that `GuestMemory.allocate` gave out. */
export interface Allocation {
  readonly region: Region;
  /** Bytes from the start of the region. */
  readonly offset: number;
}

/** What a device may reach: regions, each at a guest physical address, handed to vhost as its memory table. */
export class GuestMemory {
  readonly regions: readonly Region[];
  readonly #regions: Region[] = [];
  readonly #used: number[] = [];
  readonly #kernel: Kernel;
  #users = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.regions = this.#regions;
  }

  /** Maps a new region of zeroes. */
  addRegion(options: RegionOptions): Region {
    const hugePageSize = options.hugePageSize ?? 0;
    checkInteger('hugePageSize', hugePageSize, 0, 2 ** 34);
    const page = hugePageSize || this.#kernel.memory.pageSize();
    const size = Math.ceil(checkInteger('size', options.size, 1, 2 ** 36) / page) * page;
    const address = options.guestPhysicalAddress ?? Math.ceil(this.end / page) * page;
    if (!Number.isSafeInteger(address) || address < 0 || address % page !== 0)
      throw wrongValue('guestPhysicalAddress', `a multiple of the page size ${page}`, address);
    for (const other of this.#regions) {
      // vhost accepts overlapping regions and then finds one of the two; refused here because the kernel is silent.
      if (address < other.guestPhysicalAddress + other.size && other.guestPhysicalAddress < address + size)
        throw wrongValue(
          'guestPhysicalAddress',
          `outside the region at 0x${other.guestPhysicalAddress.toString(16)} of ${other.size} bytes`,
          address,
        );
    }
    const region = new Region(
      this.#kernel,
      this.#kernel.memory.create('vhost-net', size, hugePageSize),
      address,
    );
    this.#regions.push(region);
    this.#used.push(0);
    return region;
  }

  /** Takes `size` bytes, aligned, from the first region that has room. Nothing is ever given back but by `close`. */
  allocate(size: number, alignment = 64): Allocation {
    for (const [i, region] of this.#regions.entries()) {
      const offset = Math.ceil(this.#used[i]! / alignment) * alignment;
      if (offset + size > region.size) continue;
      this.#used[i] = offset + size;
      return { region, offset };
    }
    throw wrongValue('size', 'no more than a region has left; add a larger region', size);
  }

  /** The region that holds `length` bytes from a guest physical address, `undefined` where none does. */
  find(guestPhysicalAddress: number, length = 1): Region | undefined {
    return this.#regions.find(
      (region) =>
        guestPhysicalAddress >= region.guestPhysicalAddress &&
        guestPhysicalAddress + length <= region.guestPhysicalAddress + region.size,
    );
  }

  /** The guest physical address after the last region. */
  get end(): number {
    return this.#regions.reduce(
      (top, region) => Math.max(top, region.guestPhysicalAddress + region.size),
      FIRST_GUEST_PHYSICAL_ADDRESS,
    );
  }

  /** What VHOST_SET_MEM_TABLE takes. */
  table(): MemoryTableEntry[] {
    return this.#regions.map((region) => ({
      guestPhysicalAddress: BigInt(region.guestPhysicalAddress),
      size: BigInt(region.size),
      userAddress: region.userAddress,
    }));
  }

  /** A device that was told of this memory keeps it mapped until `drop`. */
  hold(): void {
    this.#users++;
  }

  /** The device is closed: the kernel has let go of this memory. */
  drop(): void {
    this.#users--;
  }

  /** Unmaps every region; refused while a device holds this memory. */
  close(): void {
    if (this.#users > 0)
      throw new VhostError(
        'ERR_VHOST_IN_USE',
        `guest memory is in use by ${this.#users} device(s); close them first`,
      );
    this.#used.length = 0;
    const failures: unknown[] = [];
    for (const region of this.#regions.splice(0)) {
      try {
        region.unmap();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
