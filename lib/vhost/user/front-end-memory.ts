import { constants } from 'node:fs';
import { VHOST_PAGE_SIZE } from '../../abi/vhost.js';
import { wrongValue } from '../../errors/check.js';
import { undo } from '../../errors/undo.js';
import type { Kernel, Mapping } from '../../kernel/kernel.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import type { Region } from '../../memory/region.js';
import type { LogFile } from '../vhost.js';
import type { LogArea, MemoryRegion } from './protocol.js';

interface SharedRegion {
  readonly region: Region;
  /** Where the front-end has it. */
  readonly userAddress: bigint;
}

/** The memory of a front-end, mapped here: guest memory whose user addresses are different ones on each side. */
export class FrontEndMemory {
  readonly memory: GuestMemory;
  readonly #kernel: Kernel;
  readonly #shared: SharedRegion[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.memory = new GuestMemory(kernel);
  }

  /** How many regions there are. */
  get count(): number {
    return this.#shared.length;
  }

  /** Maps a region; `fd` is this memory's to close from then on. */
  add(told: MemoryRegion, fd: number): void {
    const size = toNumber('size', told.size);
    const guestPhysicalAddress = toNumber('guest physical address', told.guestPhysicalAddress);
    if (told.userAddress + told.size > 2n ** 64n)
      throw wrongValue('user address', 'such that the region ends below 2^64', told.userAddress);
    for (const { userAddress, region } of this.#shared)
      if (told.userAddress < userAddress + BigInt(region.size) && userAddress < told.userAddress + told.size)
        throw wrongValue(
          'user address',
          `outside the region at 0x${userAddress.toString(16)}`,
          told.userAddress,
        );
    // Other kinds of file have mappings that do as they please.
    if (this.#kernel.descriptor.stat(fd).type !== constants.S_IFREG)
      throw wrongValue('memory', 'a memfd or another regular file', fd);
    const region = this.memory.mapRegion({
      fd,
      offset: toNumber('offset', told.offset),
      size,
      guestPhysicalAddress,
    });
    this.#shared.push({ region, userAddress: told.userAddress });
  }

  /** Takes a region out; the caller unmaps it once no device reaches for it. */
  remove(told: MemoryRegion): Region {
    const at = this.#shared.findIndex(
      ({ region, userAddress }) =>
        userAddress === told.userAddress &&
        BigInt(region.guestPhysicalAddress) === told.guestPhysicalAddress &&
        BigInt(region.size) === told.size,
    );
    if (at === -1) throw wrongValue('region', 'one that was added', told);
    const [{ region }] = this.#shared.splice(at, 1) as [SharedRegion];
    this.memory.removeRegion(region);
    return region;
  }

  /** Where `bytes` bytes from an address of the front-end are here; `undefined` where no region holds them all. */
  translate(address: bigint, bytes: number): bigint | undefined {
    for (const { region, userAddress } of this.#shared) {
      const offset = address - userAddress;
      if (offset >= 0n && offset + BigInt(bytes) <= BigInt(region.size)) return region.userAddress + offset;
    }
    return undefined;
  }

  /** Unmaps all of it, once every device has let go. */
  close(): void {
    this.#shared.length = 0;
    this.memory.close();
  }
}

/** The dirty log of a front-end, mapped here. */
export class FrontEndLog {
  readonly #kernel: Kernel;
  readonly #mapping: Mapping;
  readonly #fd: number;
  readonly #offset: number;

  /** `fd` is the log's to close, where this does not throw. */
  constructor(kernel: Kernel, { size, offset }: LogArea, fd: number) {
    this.#kernel = kernel;
    this.#offset = toNumber('offset', offset);
    this.#mapping = kernel.memory.map(fd, this.#offset, toNumber('size', size));
    this.#fd = fd;
  }

  get userAddress(): bigint {
    return this.#mapping.address;
  }

  /** What it maps, for a device that maps it itself. */
  get file(): LogFile {
    return { fd: this.#fd, offset: this.#offset, size: this.#mapping.buffer.byteLength };
  }

  /**
   * Refuses guest physical addresses below `end` that the log has no bit for: the device would set it in whatever lies
   * behind the log.
   */
  checkCovers(end: bigint): void {
    const covered = BigInt(this.#mapping.buffer.byteLength) * 8n * BigInt(VHOST_PAGE_SIZE);
    if (end > covered)
      throw wrongValue('log', `long enough for guest physical addresses below ${end}`, covered);
  }

  close(): void {
    undo(() => this.#kernel.memory.unmap(this.#mapping));
    this.#kernel.descriptor.close(this.#fd);
  }
}

/** A u64 that a double holds exactly. */
function toNumber(name: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw wrongValue(name, 'at most 2^53 - 1', value);
  return Number(value);
}
