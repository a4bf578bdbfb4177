import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type ProgramBackend, programBackend } from '../../backend/program.js';
import { VhostError } from '../../errors/errors.js';
import { Nic } from '../../net/nic.js';
import type { NicOptions } from '../../net/nic-open.js';
import type { ProxyProgram, ProxyProgramFactory } from '../../net/proxy-program.js';
import { UsageError } from '../usage.js';

/** A program between a front-end and a network, where there is one. */
export class ProgramLine {
  /** Where the front-end's frames go. */
  readonly backend: ProgramBackend;
  /** Aborts when the network fails, with the reason. */
  readonly failure: AbortSignal;
  readonly #nic: Nic | undefined;
  readonly #say: (text: string) => void;
  readonly #ended = new AbortController();
  #program: ProxyProgram | undefined;

  /** Opens the network; `say` is told what goes wrong in the program. */
  static async open(network: NicOptions | undefined, say: (text: string) => void): Promise<ProgramLine> {
    return new ProgramLine(network && (await Nic.open(network)), say);
  }

  private constructor(nic: Nic | undefined, say: (text: string) => void) {
    this.#nic = nic;
    this.#say = say;
    const failure = new AbortController();
    this.failure = failure.signal;
    nic?.on('error', (error) => failure.abort(error));
    this.backend = programBackend({
      transmit: (frame, signal) => this.#program?.transmit(frame, signal),
      writable: () => this.#program?.writable?.(),
      failed: (error) => this.#failed(error),
    });
  }

  /** The interface that the program sends to. */
  get network(): string | undefined {
    return this.#nic?.name;
  }

  /** Loads the program, which has the frames of both sides from then on. */
  async load(file: string): Promise<void> {
    const module: { default?: unknown } = await import(pathToFileURL(resolve(file)).href);
    if (typeof module.default !== 'function')
      throw new UsageError(`${file} must export a function by default`);
    const program = await (module.default as ProxyProgramFactory)({
      deliver: (frame) => this.backend.deliver(frame),
      send: (frame) => this.#send(frame),
      signal: this.#ended.signal,
    });
    if (typeof program?.transmit !== 'function')
      throw new UsageError(
        `the function that ${file} exports must return an object with a function transmit`,
      );
    this.#program = program;
    if (this.#nic !== undefined && program.receive !== undefined)
      this.#receive(this.#nic, program).catch(() => {
        // The Nic tells of it as an error of its own.
      });
  }

  /** Closes the network, on which the program may be waiting; the backend is its device's to close. */
  async close(): Promise<void> {
    this.#ended.abort();
    await this.#nic?.close();
  }

  async #send(frame: Uint8Array): Promise<void> {
    if (this.#nic === undefined)
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        'there is no network to send to; name a --tap or --macvtap',
      );
    await this.#nic.send(frame);
  }

  async #receive(nic: Nic, program: ProxyProgram): Promise<void> {
    for await (const batch of nic.receive()) {
      const pending: PromiseLike<void>[] = [];
      for (const frame of batch)
        try {
          const promise = program.receive!(frame);
          if (promise !== undefined) pending.push(promise);
        } catch (error) {
          this.#failed(error);
        }
      if (pending.length === 0) continue;
      batch.keep();
      void Promise.allSettled(pending).then((results) => {
        batch.release();
        for (const result of results) if (result.status === 'rejected') this.#failed(result.reason);
      });
    }
  }

  #failed(error: unknown): void {
    // What waits while the proxy ends is broken off, which is no fault of the program's.
    if (!this.#ended.signal.aborted)
      this.#say(`the program failed: ${error instanceof Error ? error.stack : error}`);
  }
}
