/** What may wait for buffers: as much as one turn of the kernel's worker takes. */
const FRAMES = 256;
const BYTES = 0x8_0000;

/** Frames, header and all, that came when the driver had too few buffers. They outlast the backend that they came from. */
export class WaitingFrames {
  readonly #frames: Uint8Array[] = [];
  #bytes = 0;

  /** Whether no more should wait. */
  get full(): boolean {
    return this.#frames.length >= FRAMES || this.#bytes >= BYTES;
  }

  get count(): number {
    return this.#frames.length;
  }

  get first(): Uint8Array | undefined {
    return this.#frames[0];
  }

  push(frame: Uint8Array): void {
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  shift(): void {
    this.#bytes -= this.#frames.shift()?.length ?? 0;
  }

  clear(): void {
    this.#frames.length = 0;
    this.#bytes = 0;
  }
}
