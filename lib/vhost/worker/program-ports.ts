import type { FrameProgram, ProgramBackend } from '../../backend/program.js';
import type { AddressMap } from '../../memory/address-map.js';
import { FrameBuffer } from './frame-buffer.js';
import type { ReceivePort, ReceiveTerms, TransmitPort, TransmitTerms } from './ports.js';

/** Bytes that a program may hold at once: as much as 1,024 of the longest frames. */
const MOST_BYTES = 0x400_0000;

/** Hands frames to a function, which completes them when it likes. */
export class ProgramTransmitPort implements TransmitPort {
  readonly linkState = 'async';
  readonly #backend: ProgramBackend;
  readonly #terms: TransmitTerms;
  readonly #stopping = new AbortController();
  /** By request record, made when one is first used. */
  readonly #frames: ProgramFrame[] = [];
  readonly #port: ProgramPort = {
    finish: (request, bytes) => {
      this.#terms.requests.finish[request]!();
      this.#held -= bytes;
      if (!this.#blocked) return;
      this.#blocked = false;
      this.#terms.again();
    },
    failed: (error) => {
      this.#terms.refused();
      tell(this.#backend, error);
    },
  };
  #held = 0;
  #blocked = false;

  constructor(backend: ProgramBackend, terms: TransmitTerms) {
    this.#backend = backend;
    this.#terms = terms;
  }

  transmit(memory: AddressMap, skip: number): number {
    const { batch, requests } = this.#terms;
    for (let chain = 0; chain < batch.count; chain++) {
      const bytes = batch.bytes[chain]! - skip;
      const request = this.#held + bytes > MOST_BYTES ? -1 : requests.open(batch.heads[chain]!);
      if (request === -1) return chain;
      batch.deferred[chain] = 1;
      this.#held += bytes;
      this.#frames[request] ??= new ProgramFrame(this.#port, request);
      const frame = this.#frames[request]!;
      batch.gather(memory, chain, skip, frame.take(bytes));
      frame.run(this.#backend.program, this.#stopping.signal);
    }
    return batch.count;
  }

  wait(): void {
    this.#blocked = true;
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#terms.requests.idle();
  }
}

/** What a frame tells its port of. */
interface ProgramPort {
  finish(request: number, bytes: number): void;
  failed(error: unknown): void;
}

/**
 * The frames of a request record, one after another. Their bytes are the record's own: the driver can change a frame in
 * its memory at any time, and the program looks twice.
 */
class ProgramFrame {
  readonly #port: ProgramPort;
  readonly #request: number;
  readonly #buffer = new FrameBuffer();
  #frame: Uint8Array | undefined;

  constructor(port: ProgramPort, request: number) {
    this.#port = port;
    this.#request = request;
  }

  take(bytes: number): Uint8Array {
    this.#frame = this.#buffer.take(bytes);
    return this.#frame;
  }

  run(program: FrameProgram, signal: AbortSignal): void {
    try {
      const promise = program.transmit(this.#frame!, signal);
      if (promise === undefined) this.#done();
      // Whatever the program returned, it settles once.
      else Promise.resolve(promise).then(this.#done, this.#failed);
    } catch (error) {
      this.#failed(error);
    }
  }

  readonly #done = (): void => {
    const { length } = this.#frame!;
    this.#frame = undefined;
    this.#port.finish(this.#request, length);
  };

  readonly #failed = (error: unknown): void => {
    this.#done();
    this.#port.failed(error);
  };
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
