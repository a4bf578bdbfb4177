import { VHOST_PAGE_SIZE } from '../abi/vhost.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel, Mapping } from '../kernel/kernel.js';

const PAGES_PER_WORD = 32;

/** Pages that follow each other: guest physical address of the first, bytes of all. */
export interface PageRange {
  readonly guestPhysicalAddress: number;
  readonly size: number;
}

/**
 * The bitmap in which a device marks the pages it writes, one bit for each 4 KiB of guest physical memory
 * (VHOST_SET_LOG_BASE). The device sets bits at any time; `take` reads and clears them in one step each.
 */
export class DirtyLog {
  readonly #kernel: Kernel;
  readonly #mapping: Mapping;
  readonly #words: Uint32Array;
  #mapped = true;

  /** A log for guest physical addresses below `end`. */
  constructor(kernel: Kernel, end: number) {
    this.#kernel = kernel;
    const page = kernel.memory.pageSize();
    const bytes = Math.ceil(end / VHOST_PAGE_SIZE / 8);
    this.#mapping = kernel.memory.create('vhost-net-log', Math.ceil(bytes / page) * page, 0);
    this.#words = new Uint32Array(this.#mapping.buffer);
  }

  /** User address of the bitmap. */
  get address(): bigint {
    return this.#mapping.address;
  }

  /** The memfd of the bitmap, for a device that maps it itself. */
  get fd(): number {
    return this.#mapping.fd;
  }

  /** Bytes of the bitmap. */
  get size(): number {
    return this.#words.byteLength;
  }

  /** The pages written since the last time, in order of their addresses, and clears them. ERR_VHOST_CLOSED: it was closed. */
  take(): PageRange[] {
    if (!this.#mapped) throw new VhostError('ERR_VHOST_CLOSED', 'the dirty log is closed');
    const ranges: PageRange[] = [];
    let first = -1;
    const end = (page: number): void => {
      if (first === -1) return;
      ranges.push({
        guestPhysicalAddress: first * VHOST_PAGE_SIZE,
        size: (page - first) * VHOST_PAGE_SIZE,
      });
      first = -1;
    };
    for (let word = 0; word < this.#words.length; word++) {
      const bits = this.#words[word] === 0 ? 0 : Atomics.exchange(this.#words, word, 0);
      if (bits === 0) {
        end(word * PAGES_PER_WORD);
        continue;
      }
      for (let bit = 0; bit < PAGES_PER_WORD; bit++) {
        const page = word * PAGES_PER_WORD + bit;
        if (((bits >>> bit) & 1) === 0) end(page);
        else if (first === -1) first = page;
      }
    }
    end(this.#words.length * PAGES_PER_WORD);
    return ranges;
  }

  /** Unmaps the bitmap, once no device logs into it. Idempotent. */
  close(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.#kernel.memory.unmap(this.#mapping);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
