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
  readonly buffer: ArrayBuffer;
  /** All of the region as bytes. */
  readonly bytes: Uint8Array;
  readonly #kernel: Kernel;
  readonly #mapping: Mapping;
  #mapped = true;

  constructor(kernel: Kernel, mapping: Mapping, guestPhysicalAddress: number) {
    this.#kernel = kernel;
    this.#mapping = mapping;
    this.guestPhysicalAddress = guestPhysicalAddress;
    this.userAddress = mapping.address;
    this.size = mapping.buffer.byteLength;
    this.fd = mapping.fd;
    this.buffer = mapping.buffer;
    this.bytes = new Uint8Array(mapping.buffer);
  }

  /** Whether it still is; a region that is not has no bytes. */
  get mapped(): boolean {
    return this.#mapped;
  }

  /** Detaches every view and gives the memory back. Only after each vhost device that was told of it is closed. */
  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.#kernel.memory.unmap(this.#mapping);
  }
}
