/** Stands for `cut` while frames are being taken, when nobody can tell where one begins. */
const TAKING = 0xffff;
const REAPED = 0;
const CUT = 1;
const WORDS = 2;

/**
 * What a driver must remember of its ring and the ring itself does not tell, in memory that outlives the driver: so that
 * another can go on where it stopped, even amid a step. No device reaches this memory.
 */
export class RingJournal {
  /** By head: descriptors of the table that the chain takes; 0 where the head is not in flight. */
  readonly taken: Uint16Array<ArrayBuffer>;
  readonly #words: Uint16Array<ArrayBuffer>;

  /** The journal of a ring of `size` descriptors, from byte `offset` of a buffer. */
  constructor(buffer: ArrayBuffer, offset: number, size: number) {
    this.#words = new Uint16Array(buffer, offset, WORDS);
    this.taken = new Uint16Array(buffer, offset + WORDS * 2, size);
  }

  /** Bytes that a ring's journal takes. */
  static bytes(size: number): number {
    return 2 * (WORDS + size);
  }

  /** One that nobody else sees. */
  static own(size: number): RingJournal {
    return new RingJournal(new ArrayBuffer(RingJournal.bytes(size)), 0, size);
  }

  /** The used index up to which chains were reaped. */
  get reaped(): number {
    return this.#words[REAPED]!;
  }

  set reaped(index: number) {
    this.#words[REAPED] = index;
  }

  /** Buffers of which a frame that was begun still lacks; `undefined` where the driver ended while it took frames. */
  get cut(): number | undefined {
    const cut = this.#words[CUT]!;
    return cut === TAKING ? undefined : cut;
  }

  set cut(buffers: number | undefined) {
    this.#words[CUT] = buffers ?? TAKING;
  }

  /** A copy that nobody else sees. */
  copy(): RingJournal {
    const copy = RingJournal.own(this.taken.length);
    copy.taken.set(this.taken);
    copy.reaped = this.reaped;
    copy.cut = this.cut;
    return copy;
  }
}
