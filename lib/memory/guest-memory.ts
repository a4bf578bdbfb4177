import { checkInteger, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { addHint } from '../errors/hints.js';
import type { Kernel, Mapping, MemoryTableEntry } from '../kernel/kernel.js';
import { Region } from './region.js';

/** Where the first region lies unless told otherwise: low, so that a dirty log stays small, but never 0. */
const FIRST_GUEST_PHYSICAL_ADDRESS = 0x10_0000;

/** A memfd that another `GuestMemory` made, here or in another process. */
export interface AdoptRegionOptions {
  /** It stays the caller's; the region works on a copy. */
  readonly fd: number;
  /** Bytes, all of them whole pages. */
  readonly size: number;
  /** Page-aligned. */
  readonly guestPhysicalAddress: number;
}

export interface RegionOptions {
  /** Bytes; rounded up to whole pages. */
  readonly size: number;
  /** Bytes of a huge page (2 MiB: 0x20_0000); 0, the default, for ordinary pages. */
  readonly hugePageSize?: number;
  /** Page-aligned; after the last region by default. */
  readonly guestPhysicalAddress?: number;
}

/** Memory that somebody else made: what another process maps as its guest's, say. */
export interface ForeignRegionOptions {
  /** The region closes it; where it cannot be made, it stays the caller's. */
  readonly fd: number;
  /** Where in it the region begins. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** Any address: it is the guest's to choose. */
  readonly guestPhysicalAddress: number;
}

/** A device that was told of a memory. */
export interface MemoryHolder {
  /** Told when regions came or went: all regions of the memory, in place of those before. */
  setMemTable(memory: GuestMemory): void | Promise<void>;
}

export interface AllocateOptions {
  /** The region to take from; the first that has room by default. */
  readonly region?: Region | undefined;
  /** What it is for; told when its region is to be removed. */
  readonly use?: () => string;
  /** Called where the memory is closed before the stretch was given back: its bytes are gone. */
  readonly gone?: () => void;
}

/** A stretch of a region that `GuestMemory.allocate` gave out. */
export interface Allocation {
  readonly region: Region;
  /** Bytes from the start of the region. */
  readonly offset: number;
  /** Gives the stretch back, once no device has any of it. Idempotent. */
  free(): void;
}

/** What is taken of a region. */
interface Shares {
  /** Bytes from the start that were given out; all is free again when nobody has a share. */
  top: number;
  readonly uses: Set<Required<Pick<AllocateOptions, 'use' | 'gone'>>>;
}

/**
 * What a device may reach: regions, each at a guest physical address, handed to vhost as its memory table. A device that
 * runs is told of regions that come and go by `hotAdd` and `hotRemove`; of others with its next VHOST_SET_MEM_TABLE.
 */
export class GuestMemory {
  readonly regions: readonly Region[];
  readonly #regions: Region[] = [];
  readonly #shares = new Map<Region, Shares>();
  readonly #kernel: Kernel;
  /** The devices, and the regions that each was told of last. */
  readonly #holders = new Map<MemoryHolder, readonly Region[]>();
  readonly #holdersOf = (region: Region): number =>
    [...this.#holders.values()].filter((regions) => regions.includes(region)).length;
  readonly #observers = new Set<() => Promise<void>>();
  /** Regions that went, and that some device may still have. */
  readonly #lost: Region[] = [];
  /** Those to whom the memory may not grow. */
  #logs = 0;
  /** Changes of the table follow one another. */
  #change: Promise<unknown> = Promise.resolve();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.regions = this.#regions;
  }

  /**
   * Maps a new region of zeroes. ERR_VHOST_OUT_OF_RANGE: it overlaps another, or its address is not on a page. ENOMEM: so much
   * memory, or so many huge pages, are not to be had; `hint` tells how to set huge pages aside.
   */
  addRegion(options: RegionOptions): Region {
    const hugePageSize = options.hugePageSize ?? 0;
    checkInteger('hugePageSize', hugePageSize, 0, 2 ** 34);
    const page = hugePageSize || this.#kernel.memory.pageSize();
    const size = Math.ceil(checkInteger('size', options.size, 1, 2 ** 36) / page) * page;
    const address = options.guestPhysicalAddress ?? Math.ceil(this.end / page) * page;
    this.#checkPlace(address, size, page);
    return this.#enter(new Region(this.#kernel, this.#map(size, hugePageSize), address, this.#holdersOf));
  }

  /** Maps a region that was made elsewhere, with all that is in it. */
  adoptRegion({ fd, size, guestPhysicalAddress }: AdoptRegionOptions): Region {
    checkInteger('size', size, 1, 2 ** 36);
    this.#checkPlace(guestPhysicalAddress, size, this.#kernel.memory.pageSize());
    return this.#enter(Region.adopt(this.#kernel, fd, size, guestPhysicalAddress, this.#holdersOf));
  }

  #checkPlace(address: number, size: number, page: number): void {
    if (!Number.isSafeInteger(address) || address < 0 || address % page !== 0)
      throw wrongValue('guestPhysicalAddress', `a multiple of the page size ${page}`, address);
    this.#checkApart(address, size);
  }

  #enter(region: Region): Region {
    this.#regions.push(region);
    this.#shares.set(region, { top: 0, uses: new Set() });
    return region;
  }

  /**
   * Maps memory that a descriptor stands for, in which nothing is allocated here. The file must be as long as that now;
   * see `Kernel.memory.map` for one that is cut short later.
   */
  mapRegion({ fd, offset, size, guestPhysicalAddress }: ForeignRegionOptions): Region {
    checkInteger('size', size, 1, 2 ** 46);
    checkInteger('offset', offset, 0, 2 ** 46);
    checkInteger('guestPhysicalAddress', guestPhysicalAddress, 0, Number.MAX_SAFE_INTEGER - size);
    this.#checkApart(guestPhysicalAddress, size);
    const mapping = this.#kernel.memory.map(fd, offset, size);
    const region = new Region(this.#kernel, mapping, guestPhysicalAddress, this.#holdersOf, { fd, offset });
    this.#regions.push(region);
    this.#shares.set(region, { top: size, uses: new Set() });
    return region;
  }

  /**
   * Takes a region out, so that a device which is told of this memory again no longer reaches it; the caller unmaps it
   * once that was done. ERR_VHOST_IN_USE: a ring or a pool lies in it.
   */
  removeRegion(region: Region): void {
    this.#takeOut(region);
    this.#shares.delete(region);
  }

  /**
   * Maps a new region and tells every device that holds this memory, while it runs; where one refuses, there is no such
   * region. ERR_VHOST_OUT_OF_RANGE: a device takes no more regions. ERR_VHOST_IN_USE: a dirty log is on, which would not
   * have room for its pages.
   */
  hotAdd(options: RegionOptions): Promise<Region> {
    return this.#exclusively(async () => {
      if (this.#logs > 0)
        throw new VhostError(
          'ERR_VHOST_IN_USE',
          'a dirty log covers this memory as it is; stopDirtyLog() first',
        );
      const region = this.addRegion(options);
      await this.#tell(() => this.#forget(region));
      return region;
    });
  }

  /**
   * Takes a region away from every device that holds this memory, while it runs, and unmaps it. ERR_VHOST_IN_USE: a ring
   * or a pool lies in it. Where a device refuses, the region stays.
   */
  hotRemove(region: Region): Promise<void> {
    return this.#exclusively(async () => {
      if (!region.mapped) return;
      const index = this.#takeOut(region);
      await this.#tell(() => this.#regions.splice(index, 0, region));
      for (const changed of this.#observers) await changed();
      this.#shares.delete(region);
      region.unmap();
    });
  }

  /** Takes `size` bytes, aligned. ERR_VHOST_OUT_OF_RANGE: no region has so much left. */
  allocate(size: number, alignment = 64, options: AllocateOptions = {}): Allocation {
    const { region: wanted, use = () => 'what was allocated there', gone = () => {} } = options;
    for (const [region, shares] of this.#shares) {
      const offset = Math.ceil(shares.top / alignment) * alignment;
      if (offset + size > region.size || (wanted !== undefined && wanted !== region)) continue;
      shares.top = offset + size;
      const share = { use, gone };
      shares.uses.add(share);
      const free = (): void => {
        shares.uses.delete(share);
        if (shares.uses.size === 0) shares.top = 0;
      };
      return { region, offset, free };
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

  /** A device that was told of this memory, now, keeps the regions mapped until it is told again, or until `drop`. */
  hold(holder: MemoryHolder): void {
    this.#holders.set(holder, [...this.#regions]);
  }

  /** The device is closed: the kernel has let go of this memory. */
  drop(holder: MemoryHolder): void {
    this.#holders.delete(holder);
  }

  /** Has `changed` called, and awaited, before a region that was removed is unmapped; returns what ends that. */
  observe(changed: () => Promise<void>): () => void {
    this.#observers.add(changed);
    return () => void this.#observers.delete(changed);
  }

  /** A dirty log covers this memory up to `end`, so that none is added until the function returned is called. */
  keepSize(): () => void {
    this.#logs++;
    let kept = true;
    return () => {
      if (kept) this.#logs--;
      kept = false;
    };
  }

  /** Unmaps every region. ERR_VHOST_IN_USE: a device holds this memory. */
  close(): void {
    if (this.#holders.size > 0)
      throw new VhostError(
        'ERR_VHOST_IN_USE',
        `guest memory is in use by ${this.#holders.size} device(s); close them first`,
      );
    for (const { uses } of this.#shares.values()) for (const { gone } of uses) gone();
    this.#shares.clear();
    const failures: unknown[] = [];
    for (const region of [...this.#regions.splice(0), ...this.#lost.splice(0)]) {
      try {
        region.unmap();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkApart(address: number, size: number): void {
    for (const other of this.#regions) {
      // vhost accepts overlapping regions and then finds one of the two; refused here because the kernel is silent.
      if (address < other.guestPhysicalAddress + other.size && other.guestPhysicalAddress < address + size)
        throw wrongValue(
          'guestPhysicalAddress',
          `outside the region at 0x${other.guestPhysicalAddress.toString(16)} of ${other.size} bytes`,
          address,
        );
    }
  }

  /** Tells every device of the regions as they are; where one refuses, has `undo` put them back and tells those again. */
  async #tell(undo: () => void): Promise<void> {
    const told: MemoryHolder[] = [];
    try {
      for (const holder of this.#holders.keys()) {
        await holder.setMemTable(this);
        told.push(holder);
      }
    } catch (error) {
      undo();
      for (const holder of told) {
        try {
          await holder.setMemTable(this);
        } catch {
          // It goes on with the table that it took; what refused first is told.
        }
      }
      throw error;
    }
  }

  /** Takes a region that nothing lies in out of the table; at which place it was. */
  #takeOut(region: Region): number {
    const index = this.#regions.indexOf(region);
    if (index === -1) throw wrongValue('region', 'one of this memory', region);
    const [share, ...others] = this.#shares.get(region)!.uses;
    if (share !== undefined) {
      const more = others.length === 0 ? '' : ` and by ${others.length} other(s)`;
      throw new VhostError(
        'ERR_VHOST_IN_USE',
        `the region at 0x${region.guestPhysicalAddress.toString(16)} is in use by ${share.use()}${more}`,
      );
    }
    this.#regions.splice(index, 1);
    return index;
  }

  /** A region that was not taken by all; whoever took it may keep it, so that it stays mapped. */
  #forget(region: Region): void {
    this.#regions.splice(this.#regions.indexOf(region), 1);
    this.#shares.delete(region);
    this.#lost.push(region);
  }

  #map(size: number, hugePageSize: number): Mapping {
    try {
      return this.#kernel.memory.create('vhost-net', size, hugePageSize);
    } catch (error) {
      if (hugePageSize === 0 || !(error instanceof Error)) throw error;
      const folder = `/sys/kernel/mm/hugepages/hugepages-${hugePageSize / 1024}kB`;
      throw addHint(
        error,
        (error as NodeJS.ErrnoException).code === 'ENOMEM'
          ? `${size / hugePageSize} huge pages must be free: echo a number that suffices > ${folder}/nr_hugepages`
          : `this machine may have no huge pages of ${hugePageSize} bytes; ls /sys/kernel/mm/hugepages`,
      );
    }
  }

  #exclusively<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#change.then(step);
    this.#change = result.catch(() => {});
    return result;
  }
}
