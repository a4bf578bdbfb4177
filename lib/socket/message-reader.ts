import { VhostError } from '../errors/errors.js';
import { undo } from '../errors/undo.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Framing, Message } from './framing.js';

/**
 * Takes messages out of a stream, each call as many bytes as the message at hand still lacks and never more: so the
 * descriptors that come with them are that message's.
 */
export class MessageReader {
  readonly #kernel: Kernel;
  readonly #framing: Framing;
  #bytes: Uint8Array<ArrayBuffer>;
  #filled = 0;
  #headerRead = false;
  #fds: number[] = [];

  constructor(kernel: Kernel, framing: Framing) {
    this.#kernel = kernel;
    this.#framing = framing;
    this.#bytes = new Uint8Array(framing.headerSize);
  }

  /**
   * The next message, `undefined` at the end of the stream. EAGAIN: the rest of it is still to come. ERR_VHOST_PROTOCOL:
   * the peer sent a message that the framing does not allow, or ended the stream within one.
   */
  read(fd: number): Message | undefined {
    for (;;) {
      if (this.#filled === this.#bytes.length) {
        if (this.#headerRead) return this.#complete();
        this.#headerRead = true;
        this.#makeRoom();
        continue;
      }
      const { size, fds } = this.#kernel.passing.receive(fd, this.#bytes.subarray(this.#filled));
      this.#fds.push(...fds);
      if (this.#fds.length > this.#framing.maxDescriptors)
        throw broken(
          `a message carries ${this.#fds.length} descriptors or more; ${this.#framing.maxDescriptors} are allowed`,
        );
      if (size === 0) {
        if (this.#filled === 0) return undefined;
        throw broken(
          `the stream ended ${this.#bytes.length - this.#filled} bytes before the end of a message`,
        );
      }
      this.#filled += size;
    }
  }

  /** Closes the descriptors of a message that was not complete. */
  dispose(): void {
    for (const fd of this.#fds.splice(0)) undo(() => this.#kernel.descriptor.close(fd));
  }

  #makeRoom(): void {
    const { headerSize, maxPayload } = this.#framing;
    const payload = this.#framing.payloadSize(this.#bytes);
    if (payload > maxPayload)
      throw broken(`a message has ${payload} bytes of payload; ${maxPayload} are allowed`);
    const bytes = new Uint8Array(headerSize + payload);
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }

  #complete(): Message {
    const message = { bytes: this.#bytes, fds: this.#fds };
    this.#bytes = new Uint8Array(this.#framing.headerSize);
    this.#filled = 0;
    this.#headerRead = false;
    this.#fds = [];
    return message;
  }
}

function broken(what: string): VhostError {
  return new VhostError('ERR_VHOST_PROTOCOL', what);
}
