/** Guest physical addresses that follow each other, and where their bytes are. */
export interface MappedStretch {
  readonly guestPhysicalAddress: number;
  /** Bytes. */
  readonly size: number;
  /** Address of the first byte in this process. */
  readonly userAddress: bigint;
  readonly buffer: ArrayBuffer;
  /** Where in `buffer` the first byte is. */
  readonly offset: number;
}

/**
 * What a device looks guest physical addresses up in. It is flat, so that a look-up allocates nothing; where two
 * stretches share an address, the first has it.
 */
export class AddressMap {
  readonly count: number;
  /** By stretch: guest physical address of the first byte … */
  readonly starts: Float64Array;
  /** … and of the byte after the last, … */
  readonly ends: Float64Array;
  /** … user address of the first (of 47 bits), … */
  readonly userAddresses: Float64Array;
  /** … its bytes, … */
  readonly bytes: readonly Uint8Array[];
  /** … and the same for words off their alignment. */
  readonly views: readonly DataView[];
  /** Where the last address was found; most are followed by one close by. */
  #last = 0;

  constructor(stretches: readonly MappedStretch[]) {
    this.count = stretches.length;
    this.starts = Float64Array.from(stretches, ({ guestPhysicalAddress }) => guestPhysicalAddress);
    this.ends = Float64Array.from(stretches, ({ guestPhysicalAddress, size }) => guestPhysicalAddress + size);
    this.userAddresses = Float64Array.from(stretches, ({ userAddress }) => Number(userAddress));
    this.bytes = stretches.map(({ buffer, offset, size }) => new Uint8Array(buffer, offset, size));
    this.views = stretches.map(({ buffer, offset, size }) => new DataView(buffer, offset, size));
  }

  /** The stretch that holds a guest physical address, -1 where none does. */
  find(address: number): number {
    const last = this.#last;
    if (address >= this.starts[last]! && address < this.ends[last]!) return last;
    for (let i = 0; i < this.count; i++) {
      if (address < this.starts[i]! || address >= this.ends[i]!) continue;
      this.#last = i;
      return i;
    }
    return -1;
  }
}
