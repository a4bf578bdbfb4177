import assert from 'node:assert/strict';

/** Ethernet addresses of the ends of a cable. Locally administered, so that no host has them. */
export const ADDRESS = {
  a: Uint8Array.of(0x02, 0, 0, 0, 0, 0x0a),
  b: Uint8Array.of(0x02, 0, 0, 0, 0, 0x0b),
  c: Uint8Array.of(0x02, 0, 0, 0, 0, 0x0c),
  d: Uint8Array.of(0x02, 0, 0, 0, 0, 0x0d),
} as const;

export type End = keyof typeof ADDRESS;

/** IEEE 802's local experimental EtherType 1: no network stack answers to it. */
const ETHER_TYPE = [0x88, 0xb5] as const;
const ETHERNET_HEADER = 14;
const NUMBER = 4;

/** What frames are filled with: long enough for the longest, with every frame beginning at another place. */
const STARTS = 251;
const pattern = Buffer.alloc(STARTS + 2 ** 17);
for (let i = 0, state = 0x2545f491; i < pattern.length; i++) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  pattern[i] = state;
}

/**
 * Frames that tell which one they are and whose every byte is known from that: an Ethernet header, a number of four
 * bytes, and a pattern that begins elsewhere for each number. A frame of less than 18 bytes is its header alone.
 * Writing and comparing allocate nothing.
 */
export class NumberedFrames {
  readonly length: number;
  readonly #head: Buffer;

  /** Frames of `length` bytes from one end of the cable to the other. */
  constructor(length: number, from: End, to: End) {
    this.length = length;
    this.#head = Buffer.from([...ADDRESS[to], ...ADDRESS[from], ...ETHER_TYPE]);
  }

  /** A frame of its own. */
  frame(number: number): Uint8Array {
    const frame = new Uint8Array(this.length);
    this.write(number, frame, 0);
    return frame;
  }

  /** Writes a frame at `offset`: byte by byte, since `Buffer.copy` and `subarray` make an object for each call. */
  write(number: number, bytes: Uint8Array, offset: number): void {
    const head = this.#head;
    for (let i = 0; i < ETHERNET_HEADER; i++) bytes[offset + i] = head[i]!;
    const rest = this.length - ETHERNET_HEADER - NUMBER;
    if (rest < 0) return;
    const at = offset + ETHERNET_HEADER;
    bytes[at] = number;
    bytes[at + 1] = number >>> 8;
    bytes[at + 2] = number >>> 16;
    bytes[at + 3] = number >>> 24;
    const start = number % STARTS;
    for (let i = 0; i < rest; i++) bytes[at + NUMBER + i] = pattern[start + i]!;
  }

  /** The number that a frame of at least 18 bytes bears. */
  number(bytes: Uint8Array, offset = 0): number {
    const at = offset + ETHERNET_HEADER;
    const found = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    return found >>> 0;
  }

  /** Whether the `length` bytes at `offset` are the frame of this number, every byte of them. */
  matches(number: number, bytes: Uint8Array, offset: number, length: number): boolean {
    if (length !== this.length) return false;
    if (this.#head.compare(bytes, offset, offset + ETHERNET_HEADER) !== 0) return false;
    const rest = length - ETHERNET_HEADER - NUMBER;
    if (rest < 0) return true;
    const start = number % STARTS;
    const at = offset + ETHERNET_HEADER + NUMBER;
    return (
      this.number(bytes, offset) === number &&
      pattern.compare(bytes, at, offset + length, start, start + rest) === 0
    );
  }

  /** Fails, and shows both, where bytes are not the frame of this number. */
  check(number: number, bytes: Uint8Array, offset = 0, length = bytes.length): void {
    if (this.matches(number, bytes, offset, length)) return;
    const found = Buffer.from(bytes.subarray(offset, offset + length)).toString('hex');
    assert.equal(found, Buffer.from(this.frame(number)).toString('hex'), `frame ${number}`);
  }
}
