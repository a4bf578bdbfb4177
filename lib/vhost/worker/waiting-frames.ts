import { FrameBuffer } from './frame-buffer.js';

/** What may wait for buffers: as much as one turn of the kernel's worker takes. */
const FRAMES = 256;
const BYTES = 0x8_0000;

/** Frames, header and all, that came when the driver had too few buffers. They outlast the backend that they came from. */
export class WaitingFrames {
  /** A ring: the frame that a device reads beyond its buffers waits though others fill it. */
  readonly #buffers = Array.from({ length: FRAMES + 1 }, () => new FrameBuffer());
  readonly #frames: (Uint8Array | undefined)[] = Array(FRAMES + 1).fill(undefined);
  #start = 0;
  #count = 0;
  #bytes = 0;

  /** Whether no more should wait. */
  get full(): boolean {
    return this.#count >= FRAMES || this.#bytes >= BYTES;
  }

  get first(): Uint8Array | undefined {
    return this.#frames[this.#start];
  }

  /** Adds a frame of so many bytes, which are the caller's to fill. */
  push(bytes: number): Uint8Array {
    const slot = (this.#start + this.#count) % this.#frames.length;
    const frame = this.#buffers[slot]!.take(bytes);
    this.#frames[slot] = frame;
    this.#count++;
    this.#bytes += bytes;
    return frame;
  }

  shift(): void {
    this.#bytes -= this.#frames[this.#start]?.length ?? 0;
    this.#frames[this.#start] = undefined;
    this.#start = (this.#start + 1) % this.#frames.length;
    this.#count--;
  }

  clear(): void {
    while (this.#count > 0) this.shift();
  }
}
