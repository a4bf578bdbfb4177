import type { ProgramBackend } from '../../backend/program.js';
import type { AddressMap } from '../../memory/address-map.js';
import type { ReceivePort, ReceiveTerms, TransmitPort, TransmitTerms } from './ports.js';

/** Bytes of an ordinary frame. */
const ORDINARY = 2048;

/** Hands frames to a function, which completes them when it likes. */
export class ProgramTransmitPort implements TransmitPort {
  readonly linkState = 'async';
  errors = 0;
  readonly #backend: ProgramBackend;
  readonly #terms: TransmitTerms;
  readonly #stopping = new AbortController();
  /** By request record. */
  readonly #buffers: Uint8Array[] = [];
  #blocked = false;

  constructor(backend: ProgramBackend, terms: TransmitTerms) {
    this.#backend = backend;
    this.#terms = terms;
  }

  transmit(memory: AddressMap, skip: number): number {
    const { batch, requests } = this.#terms;
    for (let chain = 0; chain < batch.count; chain++) {
      const request = requests.open(batch.heads[chain]!);
      if (request === -1) {
        this.#blocked = true;
        return chain;
      }
      batch.deferred[chain] = 1;
      const frame = this.#buffer(request, batch.bytes[chain]! - skip);
      batch.gather(memory, chain, skip, frame);
      this.#run(frame, requests.finish[request]!);
    }
    return batch.count;
  }

  /** The record's own bytes: the driver can change a frame in its memory at any time, and the program looks twice. */
  #buffer(request: number, bytes: number): Uint8Array {
    let buffer = this.#buffers[request];
    if (buffer === undefined || buffer.length < bytes) {
      buffer = new Uint8Array(Math.max(bytes, ORDINARY));
      this.#buffers[request] = buffer;
    }
    return buffer.subarray(0, bytes);
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#terms.requests.idle();
  }

  #run(frame: Uint8Array, finish: () => void): void {
    const done = (): void => {
      finish();
      if (!this.#blocked) return;
      this.#blocked = false;
      this.#terms.again();
    };
    const failed = (error: unknown): void => {
      this.errors++;
      done();
      tell(this.#backend, error);
    };
    try {
      const promise = this.#backend.program.transmit(frame, this.#stopping.signal);
      if (promise === undefined) done();
      // Whatever the program returned, it settles once.
      else Promise.resolve(promise).then(done, failed);
    } catch (error) {
      failed(error);
    }
  }
}

/** Takes frames that a program delivers. */
export class ProgramReceivePort implements ReceivePort {
  readonly linkState = 'async';
  readonly results = new Int32Array(0);
  readonly spill = new Uint8Array(0);
  readonly #backend: ProgramBackend;
  readonly #terms: ReceiveTerms;

  constructor(backend: ProgramBackend, terms: ReceiveTerms) {
    this.#backend = backend;
    this.#terms = terms;
    backend.receiver = terms;
  }

  watch(): void {}

  writable(): void {
    try {
      this.#backend.program.writable?.();
    } catch (error) {
      tell(this.#backend, error);
    }
  }

  close(): void {
    if (this.#backend.receiver === this.#terms) this.#backend.receiver = undefined;
  }
}

/** An error of the program's own, which is not the queue's: uncaught, unless the program takes it. */
function tell({ program }: ProgramBackend, error: unknown): void {
  if (program.failed !== undefined) program.failed(error);
  else
    queueMicrotask(() => {
      throw error;
    });
}
