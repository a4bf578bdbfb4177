/** Bytes of an ordinary frame, with its header. */
const ORDINARY = 2048;

/** Room for one frame after another, each of which is done with before the next. Only a long frame costs an allocation. */
export class FrameBuffer {
  #buffer: Uint8Array | undefined;
  #frame: Uint8Array = new Uint8Array(0);

  /** So many bytes, with anything in them. */
  take(bytes: number): Uint8Array {
    if (bytes > ORDINARY) return new Uint8Array(bytes);
    if (this.#frame.length !== bytes) {
      this.#buffer ??= new Uint8Array(ORDINARY);
      this.#frame = this.#buffer.subarray(0, bytes);
    }
    return this.#frame;
  }
}
