import { VhostError } from '../errors/errors.js';
import { undo } from '../errors/undo.js';
import type { Kernel, Mapping } from '../kernel/kernel.js';

/**
 * One mapped stretch of guest memory. The device reaches it by guest physical address (GPA), the kernel maps
 * that to the user address, and JavaScript reaches it by byte offset into `buffer`.
 */
export class Region {
  readonly guestPhysicalAddress: number;
  readonly userAddress: bigint;
  /** Bytes. */
  readonly size: number;
  /** The memfd behind the region, for a device that maps it itself. */
  readonly fd: number;
  /** Where in it the region begins. */
  readonly fdOffset: number;
  readonly buffer: ArrayBuffer;
  /** All of the region as bytes. */
  readonly bytes: Uint8Array;
  readonly #kernel: Kernel;
  readonly #mapping: Mapping;
  /** A descriptor that came from elsewhere, to be closed with the region; -1 for none. */
  readonly #foreignFd: number;
  readonly #holders: (region: Region) => number;
  #mapped = true;

  /**
   * `holders` tells how many devices reach a region. `foreign` is what `mapping` maps where it is not memory made here; the
   * region closes it.
   */
  constructor(
    kernel: Kernel,
    mapping: Mapping,
    guestPhysicalAddress: number,
    holders: (region: Region) => number = () => 0,
    foreign?: { readonly fd: number; readonly offset: number },
  ) {
    this.#kernel = kernel;
    this.#holders = holders;
    this.#mapping = mapping;
    this.guestPhysicalAddress = guestPhysicalAddress;
    this.userAddress = mapping.address;
    this.size = mapping.buffer.byteLength;
    this.#foreignFd = foreign?.fd ?? -1;
    this.fd = foreign?.fd ?? mapping.fd;
    this.fdOffset = foreign?.offset ?? 0;
    this.buffer = mapping.buffer;
    this.bytes = new Uint8Array(mapping.buffer);
  }

  /** Maps a memfd that was made elsewhere, with all that is in it; the descriptor stays the caller's. */
  static adopt(
    kernel: Kernel,
    fd: number,
    size: number,
    guestPhysicalAddress: number,
    holders?: (region: Region) => number,
  ): Region {
    const { descriptor, memory } = kernel;
    const copy = descriptor.duplicate(fd);
    try {
      const mapping = memory.map(copy, 0, size);
      return new Region(kernel, mapping, guestPhysicalAddress, holders, { fd: copy, offset: 0 });
    } catch (error) {
      undo(() => descriptor.close(copy));
      throw error;
    }
  }

  /** Whether it still is; a region that is not has no bytes. */
  get mapped(): boolean {
    return this.#mapped;
  }

  /**
   * Detaches every view and gives the memory back. Idempotent. ERR_VHOST_IN_USE: a device was told of it and is neither
   * closed nor told of the memory without it.
   */
  unmap(): void {
    if (!this.#mapped) return;
    const holders = this.#holders(this);
    if (holders > 0)
      throw new VhostError(
        'ERR_VHOST_IN_USE',
        `the region at 0x${this.guestPhysicalAddress.toString(16)} is in use by ${holders} device(s)`,
      );
    this.#mapped = false;
    try {
      this.#kernel.memory.unmap(this.#mapping);
    } finally {
      if (this.#foreignFd !== -1) this.#kernel.descriptor.close(this.#foreignFd);
    }
  }
}
