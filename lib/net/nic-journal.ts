import type { Kernel } from '../kernel/kernel.js';
import { Region } from '../memory/region.js';
import { RingJournal } from '../vring/ring-journal.js';
import type { RingJournals } from './queue-pair.js';

/** Descriptors of the rings of each pair, and how many pairs there are. */
export interface RingSizes {
  readonly queuePairs: number;
  readonly receiveSize: number;
  readonly transmitSize: number;
}

/** The journals of all rings of a `Nic`, in a memfd of their own, which no device reaches. */
export class NicJournal {
  readonly #region: Region;
  readonly #sizes: RingSizes;

  private constructor(region: Region, sizes: RingSizes) {
    this.#region = region;
    this.#sizes = sizes;
  }

  static create(kernel: Kernel, sizes: RingSizes): NicJournal {
    const mapping = kernel.memory.create('vhost-net-journal', journalBytes(kernel, sizes), 0);
    return new NicJournal(new Region(kernel, mapping, 0), sizes);
  }

  /** Maps what another `Nic` created; the descriptor stays the caller's. */
  static adopt(kernel: Kernel, fd: number, sizes: RingSizes): NicJournal {
    return new NicJournal(Region.adopt(kernel, fd, journalBytes(kernel, sizes), 0), sizes);
  }

  /** The memfd. */
  get fd(): number {
    return this.#region.fd;
  }

  /** The journals of one pair. */
  rings(pair: number): RingJournals {
    const { receiveSize, transmitSize } = this.#sizes;
    const { buffer } = this.#region;
    const start = pair * pairBytes(this.#sizes);
    return {
      receive: new RingJournal(buffer, start, receiveSize),
      transmit: new RingJournal(buffer, start + RingJournal.bytes(receiveSize), transmitSize),
    };
  }

  close(): void {
    this.#region.unmap();
  }
}

function pairBytes({ receiveSize, transmitSize }: RingSizes): number {
  return RingJournal.bytes(receiveSize) + RingJournal.bytes(transmitSize);
}

/** Whole pages. */
function journalBytes({ memory }: Kernel, sizes: RingSizes): number {
  const page = memory.pageSize();
  return Math.ceil((sizes.queuePairs * pairBytes(sizes)) / page) * page;
}
