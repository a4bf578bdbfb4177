import { Duplex } from 'node:stream';
import { checkInteger, checkOptions } from '../errors/check.js';
import type { Nic } from './nic.js';
import type { ReceiveBatch } from './receive-batch.js';

export interface FrameStreamOptions {
  /** Frames that either direction holds before it waits; 64 by default. */
  readonly highWaterMark?: number;
}

/** What a stream of frames stands on: a `Nic`, or one of its pairs. */
export type FrameStreamEnd = Pick<Nic, 'send' | 'receive' | 'drain'>;

/**
 * The frames of a `Nic`, or of one of its pairs, as a stream of objects: each chunk is one Ethernet frame, a `Uint8Array`,
 * both ways. What is read is a copy; headers are not told, so that it is for backends without offloads. A write waits
 * where there is no room, and what nobody reads waits in the kernel and is dropped there.
 *
 * The writable side finishes when every frame that was written is done, the readable side ends when the `Nic` closes. An
 * error of either side destroys the stream; the `Nic` stays the caller's to close. While the stream is there no other
 * iteration receives (ERR_VHOST_IN_USE destroys the stream that comes second). A stream is for convenience: it costs
 * several times what batches do.
 */
export function frameStream(nic: FrameStreamEnd, options: FrameStreamOptions = {}): Duplex {
  checkOptions('options', options, ['highWaterMark']);
  return new FrameStream(nic, checkInteger('highWaterMark', options.highWaterMark ?? 64, 1, 2 ** 16));
}

class FrameStream extends Duplex {
  readonly #nic: FrameStreamEnd;
  readonly #leaving = new AbortController();
  readonly #frames: AsyncGenerator<Uint8Array, void, void>;

  constructor(nic: FrameStreamEnd, highWaterMark: number) {
    super({ objectMode: true, highWaterMark });
    this.#nic = nic;
    this.#frames = copies(nic.receive({ limit: highWaterMark, signal: this.#leaving.signal }));
  }

  override _read(): void {
    this.#frames.next().then(
      ({ value }) => this.push(value ?? null),
      (error: Error) => this.destroy(error),
    );
  }

  override _write(frame: Uint8Array, _: BufferEncoding, done: (error?: Error | null) => void): void {
    // One by one: of a Nic of several pairs each frame goes to the pair of its flow.
    this.#nic.send(frame, { signal: this.#leaving.signal }).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#nic.drain({ signal: this.#leaving.signal }).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#leaving.abort();
    // The iteration is over, so that another can begin.
    const end = (): void => done(error);
    this.#frames.return().then(end, end);
  }
}

/** Each frame by itself; the buffers of a batch go back at once. */
async function* copies(
  batches: AsyncGenerator<ReceiveBatch, void, void>,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const batch of batches) {
    const frames = Array.from(batch, (frame) => new Uint8Array(frame));
    batch.release();
    yield* frames;
  }
}
