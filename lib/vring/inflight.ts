import type { RingPart } from './layout.js';
import { distance } from './ring-index.js';

// Of a queue (QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking", QueueRegionSplit): u64 features, u16 version,
// u16 desc_num, u16 last_batch_head, u16 used_idx; then, for each descriptor (DescStateSplit), u8 inflight, five bytes of
// padding, u16 next, u64 counter.
const HEADER_SIZE = 16;
const STATE_SIZE = 16;
const NEXT_OFFSET = 6;
const COUNTER_OFFSET = 8;
/** As 16-bit words. */
const VERSION_WORD = 4;
const SIZE_WORD = 5;
const LAST_WORD = 6;
const USED_WORD = 7;
/** 0 is memory that nobody has tracked anything in. */
const VERSION = 1;
/** What the part of a queue begins at a multiple of, as those of other back-ends. */
const ALIGNMENT = 64;
const WINDOW = 2 ** 32;

/** Bytes that a queue of so many descriptors takes. */
export function inflightBytes(size: number): number {
  return Math.ceil((HEADER_SIZE + size * STATE_SIZE) / ALIGNMENT) * ALIGNMENT;
}

/**
 * The heads that a device has of a split ring, in memory that outlives it: the device after it takes them again, in the
 * order in which they were taken, though others were returned before them. What another process may have written there
 * is bounded before it is followed.
 *
 * The device may be killed between any two stores, and no other order among them is needed: none is seen by somebody
 * else before the device is gone.
 */
export class Inflight {
  readonly #size: number;
  readonly #bytes: Uint8Array;
  readonly #words: Uint16Array;
  readonly #counters: Uint32Array;
  #counter = 0;

  constructor({ buffer, offset }: RingPart, size: number) {
    const bytes = inflightBytes(size);
    this.#size = size;
    this.#bytes = new Uint8Array(buffer, offset, bytes);
    this.#words = new Uint16Array(buffer, offset, bytes / 2);
    this.#counters = new Uint32Array(buffer, offset, bytes / 4);
  }

  /** Begins anew, or goes on after another device: the heads that it had, oldest first. `used` is the ring's used index. */
  recover(used: number): number[] {
    const words = this.#words;
    if (words[VERSION_WORD] === VERSION) {
      // The device before ended between showing its last batch and noting that.
      const unnoted = distance(words[USED_WORD]!, used);
      if (unnoted <= this.#size) this.#end(unnoted);
    } else this.forget();
    words[SIZE_WORD] = this.#size;
    words[USED_WORD] = used;
    words[VERSION_WORD] = VERSION;
    const heads = this.heads();
    this.#counter = heads.length === 0 ? 0 : this.#order(heads.at(-1)!) + 1;
    return heads;
  }

  /** The heads that a device has, oldest first. */
  heads(): number[] {
    const heads: number[] = [];
    for (let head = 0; head < this.#size; head++) if (this.#bytes[this.#state(head)] !== 0) heads.push(head);
    return heads.sort((a, b) => this.#order(a) - this.#order(b));
  }

  /** Notes that no device has any. */
  forget(): void {
    for (let head = 0; head < this.#size; head++) this.#bytes[this.#state(head)] = 0;
  }

  /** A head was taken. */
  take(head: number): void {
    const state = this.#state(head);
    const counter = this.#counter++;
    this.#counters[(state + COUNTER_OFFSET) / 4] = counter % WINDOW;
    this.#counters[(state + COUNTER_OFFSET) / 4 + 1] = counter / WINDOW;
    this.#bytes[state] = 1;
  }

  /** A head that was taken is not: the next that is taken may be another. */
  giveBack(head: number): void {
    this.#bytes[this.#state(head)] = 0;
  }

  /** A head is among those that are shown as used next. */
  use(head: number): void {
    this.#words[(this.#state(head) + NEXT_OFFSET) / 2] = this.#words[LAST_WORD]!;
    this.#words[LAST_WORD] = head;
  }

  /** The last `count` heads that were used are shown, and the ring's used index is `used`. */
  shown(count: number, used: number): void {
    this.#end(count);
    this.#words[USED_WORD] = used;
  }

  #end(count: number): void {
    let head = this.#words[LAST_WORD]!;
    for (let left = count; left > 0 && head < this.#size; left--) {
      const state = this.#state(head);
      this.#bytes[state] = 0;
      head = this.#words[(state + NEXT_OFFSET) / 2]!;
    }
  }

  #state(head: number): number {
    return HEADER_SIZE + head * STATE_SIZE;
  }

  #order(head: number): number {
    const word = (this.#state(head) + COUNTER_OFFSET) / 4;
    return this.#counters[word + 1]! * WINDOW + this.#counters[word]!;
  }
}
