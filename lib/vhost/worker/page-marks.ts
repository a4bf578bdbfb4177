import { VHOST_PAGE_SIZE } from '../../abi/vhost.js';
import type { Kernel, Mapping } from '../../kernel/kernel.js';
import type { LogFile } from '../vhost.js';

/** The dirty log of a driver, mapped here, as log_write() of the kernel's device marks it. */
export class PageMarks {
  readonly #kernel: Kernel;
  readonly #mapping: Mapping;
  readonly #words: Uint32Array;

  constructor(kernel: Kernel, { fd, offset = 0, size }: LogFile) {
    this.#kernel = kernel;
    this.#mapping = kernel.memory.map(fd, offset, size);
    this.#words = new Uint32Array(this.#mapping.buffer, 0, Math.floor(size / 4));
  }

  /** Marks the pages of so many bytes; those that the log has no bit for it cannot. */
  mark(guestPhysicalAddress: number, length: number): void {
    const first = Math.floor(guestPhysicalAddress / VHOST_PAGE_SIZE);
    const last = Math.floor((guestPhysicalAddress + length - 1) / VHOST_PAGE_SIZE);
    for (let page = first; page <= last; page++) {
      const word = Math.floor(page / 32);
      if (word >= this.#words.length) return;
      Atomics.or(this.#words, word, 1 << (page % 32));
    }
  }

  close(): void {
    this.#kernel.memory.unmap(this.#mapping);
  }
}
