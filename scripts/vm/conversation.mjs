import { constants } from 'node:os';
import { VmError } from './errors.mjs';
import { Control, MarkedStream } from './ports.mjs';

/**
 * @typedef {object} Streams
 * @property {(chunk: Buffer) => void | Promise<void>} onStdout a promise holds the VM back until it settles
 * @property {(chunk: Buffer) => void | Promise<void>} onStderr
 * @property {import('node:stream').Readable | undefined} stdin
 * @property {import('./terminal.mjs').Terminal | undefined} terminal
 */
/**
 * @typedef {object} Outcome
 * @property {number} status
 * @property {boolean} timedOut
 */
/** @typedef {Map<import('./ports.mjs').PortName, Awaited<ReturnType<import('./ports.mjs').listenPort>>>} Ports */
/**
 * @typedef {object} Terms
 * @property {Ports} ports
 * @property {Buffer} mark
 * @property {Streams} streams
 * @property {Promise<VmError>} lost settles when a part of the VM has ended
 * @property {() => Promise<string>} console the last that the VM's kernel printed
 * @property {number} timeout in seconds
 * @property {AbortSignal | undefined} signal
 * @property {import('./packages.mjs').Say} say
 */

// Under emulation, on a machine that is busy with other things, a start has been seen to take half a minute.
const START_PATIENCE = 80_000;
// Once the command has ended, its last output is on the way; then silence of this length means it will not come.
const FLUSH_PATIENCE = 10_000;
// What an interrupted command may take to tidy up.
const INTERRUPT_PATIENCE = 5_000;

/**
 * @param {unknown} reason of an AbortSignal
 * @returns {NodeJS.Signals} the signal that it stands for
 */
export function signalOf(reason) {
  return typeof reason === 'string' && Object.hasOwn(constants.signals, reason)
    ? /** @type {NodeJS.Signals} */ (reason)
    : 'SIGTERM';
}

/**
 * @param {NodeJS.Signals} name
 * @returns {number} the status of a command that died of it, as a shell counts
 */
export function statusOfSignal(name) {
  return 128 + constants.signals[name];
}

/**
 * Carries a command's streams to and from the VM until it has ended and all its output is here.
 *
 * @param {Terms} terms
 * @returns {Promise<Outcome>}
 */
export function converse(terms) {
  return new Conversation(terms).outcome;
}

class Conversation {
  #terms;
  /** @type {Array<() => void>} */
  #cleanup = [];
  /** @type {(outcome: Outcome) => void} */
  #resolve = () => {};
  /** @type {(reason: unknown) => void} */
  #reject = () => {};
  /** @type {MarkedStream[]} */
  #marked = [];
  /** @type {Control | undefined} */
  #control;
  #ready = false;
  #flushed = false;
  /** @type {number | undefined} the command's, once it has ended */
  #status;
  /** @type {NodeJS.Timeout | undefined} */
  #silence;

  /** @param {Terms} terms */
  constructor(terms) {
    this.#terms = terms;
    /** @type {Promise<Outcome>} */
    const settled = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.outcome = settled.finally(() => this.#close());
    const { streams, lost, timeout, signal } = terms;
    this.#after(timeout * 1000, () => this.#finish(124, true));
    this.#after(START_PATIENCE, () => void this.#judgeStart());
    this.#whenConnected('control', (socket) => this.#listen(new Control(socket)));
    this.#carry('stdout', streams.onStdout);
    this.#carry('stderr', streams.onStderr);
    this.#feed(streams);
    void lost.then((error) => this.#lose(error));
    const interrupt = () => this.#interrupt(signalOf(signal?.reason));
    signal?.addEventListener('abort', interrupt, { once: true });
    this.#cleanup.push(() => signal?.removeEventListener('abort', interrupt));
    if (signal?.aborted) interrupt();
  }

  /**
   * @param {import('./ports.mjs').PortName} name
   * @param {(socket: import('node:net').Socket) => void | Promise<void>} use
   */
  #whenConnected(name, use) {
    this.#terms.ports.get(name)?.connected.then(use).catch(this.#reject);
  }

  /** @param {Control} control */
  #listen(control) {
    const { streams, say } = this.#terms;
    this.#control = control;
    control.once('ready', () => {
      this.#ready = true;
      say('');
      const { terminal } = streams;
      if (terminal) this.#cleanup.push(terminal.onResize((size) => control.sendSize(size)));
    });
    control.once('failed', (why) => {
      this.#reject(new VmError('ERR_VM_DIED', `the VM gave up while it started: ${why}`));
    });
    control.once('status', (text) => {
      this.#status = Number(text);
      this.#progress();
    });
    control.once('flushed', () => {
      this.#flushed = true;
      this.#progress();
    });
  }

  /**
   * @param {'stdout' | 'stderr'} name
   * @param {(chunk: Buffer) => void | Promise<void>} onData
   */
  #carry(name, onData) {
    if (!this.#terms.ports.has(name)) return;
    const stream = new MarkedStream(this.#terms.mark);
    this.#marked.push(stream);
    this.#whenConnected(name, async (socket) => {
      for await (const chunk of socket) {
        const output = stream.push(chunk);
        if (output.length > 0) await onData(output);
        this.#progress();
      }
      if (stream.rest().length > 0) await onData(stream.rest());
    });
  }

  /** @param {Streams} streams */
  #feed({ stdin, terminal }) {
    this.#whenConnected('stdin', (socket) => {
      // The VM says a word when it listens; what is sent earlier would be lost.
      socket.once('data', () => stdin?.pipe(socket));
      this.#cleanup.push(() => stdin?.unpipe(socket).pause());
    });
    this.#whenConnected('terminal', (socket) => {
      if (terminal) this.#cleanup.push(terminal.attach(socket));
    });
  }

  /** The command has ended, or more of its output has arrived. */
  #progress() {
    const status = this.#status;
    if (status === undefined) return;
    clearTimeout(this.#silence);
    if (this.#flushed && this.#isComplete()) this.#finish(status);
    else this.#silence = setTimeout(() => this.#finish(status), FLUSH_PATIENCE);
  }

  #isComplete() {
    return this.#marked.every((stream) => stream.complete);
  }

  /** @param {VmError} error */
  #lose(error) {
    if (this.#status !== undefined && this.#isComplete()) this.#finish(this.#status);
    else if (error.code === 'ERR_VM_PANIC' && !this.#ready)
      this.#reject(new VmError('ERR_VM_START', `the VM did not start: ${error.message}`));
    else this.#reject(error);
  }

  async #judgeStart() {
    if (this.#ready) return;
    const seconds = START_PATIENCE / 1000;
    const told = `the VM did not start within ${seconds} s; try another --accel or --kernel. Its console ended with:`;
    this.#reject(new VmError('ERR_VM_START', `${told}\n${await this.#terms.console()}`));
  }

  /** @param {NodeJS.Signals} name */
  #interrupt(name) {
    // Before the command has begun there is no one to tell.
    if (!this.#ready) return this.#finish(statusOfSignal(name));
    this.#control?.sendSignal(name.slice(3));
    this.#after(INTERRUPT_PATIENCE, () => this.#finish(statusOfSignal(name)));
  }

  /**
   * @param {number} status
   * @param {boolean} [timedOut]
   */
  #finish(status, timedOut = false) {
    this.#resolve({ status, timedOut });
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} act
   */
  #after(milliseconds, act) {
    const timer = setTimeout(act, milliseconds);
    this.#cleanup.push(() => clearTimeout(timer));
  }

  #close() {
    clearTimeout(this.#silence);
    for (const undo of this.#cleanup) undo();
  }
}
