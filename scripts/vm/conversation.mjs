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
/**
 * @typedef {object} Conversation
 * @property {Map<import('./ports.mjs').PortName, Awaited<ReturnType<import('./ports.mjs').listenPort>>>} ports
 * @property {Buffer} mark
 * @property {Streams} streams
 * @property {Promise<VmError>} lost settles when a part of the VM has ended
 * @property {number} timeout in seconds
 * @property {AbortSignal | undefined} signal
 * @property {import('./packages.mjs').Say} say
 */

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
 * @param {Conversation} conversation
 * @returns {Promise<Outcome>}
 */
export function converse({ ports, mark, streams, lost, timeout, signal, say }) {
  /** @type {Array<() => void>} */
  const cleanup = [];
  /** @type {Promise<Outcome>} */
  const outcome = new Promise((resolve, reject) => {
    /** @type {number | undefined} */
    let status;
    let ready = false;
    let flushed = false;
    /** @type {MarkedStream[]} */
    const marked = [];
    /** @type {NodeJS.Timeout | undefined} */
    let silence;
    /** @param {number} code @param {boolean} [timedOut] */
    const finish = (code, timedOut = false) => resolve({ status: code, timedOut });

    const progress = () => {
      if (status === undefined) return;
      const ended = status;
      clearTimeout(silence);
      if (flushed && marked.every((stream) => stream.complete)) finish(ended);
      else silence = setTimeout(finish, FLUSH_PATIENCE, ended);
    };

    /** @type {Control | undefined} */
    let control;
    void ports.get('control')?.connected.then((socket) => {
      control = new Control(socket);
      control.once('ready', () => {
        ready = true;
        say('');
        if (streams.terminal) cleanup.push(streams.terminal.onResize((size) => control?.sendSize(size)));
      });
      control.once('failed', (why) =>
        reject(new VmError('ERR_VM_DIED', `the VM gave up while it started: ${why}`)),
      );
      control.once('status', (text) => {
        status = Number(text);
        progress();
      });
      control.once('flushed', () => {
        flushed = true;
        progress();
      });
    });

    /** @param {'stdout' | 'stderr'} name @param {(chunk: Buffer) => void | Promise<void>} onData */
    const carry = (name, onData) => {
      const stream = new MarkedStream(mark);
      marked.push(stream);
      void ports
        .get(name)
        ?.connected.then(async (socket) => {
          for await (const chunk of socket) {
            const output = stream.push(chunk);
            if (output.length > 0) await onData(output);
            progress();
          }
          if (stream.rest().length > 0) await onData(stream.rest());
        })
        .catch(reject);
    };
    if (ports.has('stdout')) carry('stdout', streams.onStdout);
    if (ports.has('stderr')) carry('stderr', streams.onStderr);
    const { stdin, terminal } = streams;
    if (stdin) {
      void ports.get('stdin')?.connected.then((socket) => {
        // The VM says a word when it listens; what is sent earlier would be lost.
        socket.once('data', () => stdin.pipe(socket));
        cleanup.push(() => stdin.unpipe(socket).pause());
      });
    }
    if (terminal)
      void ports.get('terminal')?.connected.then((socket) => cleanup.push(terminal.attach(socket)));

    void lost.then((error) => {
      if (status !== undefined && marked.every((stream) => stream.complete)) finish(status);
      else reject(error);
    });

    const limit = setTimeout(finish, timeout * 1000, 124, true);
    cleanup.push(
      () => clearTimeout(limit),
      () => clearTimeout(silence),
    );

    const interrupt = () => {
      const name = signalOf(signal?.reason);
      if (!ready) {
        finish(statusOfSignal(name));
        return;
      }
      control?.sendSignal(name.slice(3));
      const grace = setTimeout(finish, INTERRUPT_PATIENCE, statusOfSignal(name));
      cleanup.push(() => clearTimeout(grace));
    };
    signal?.addEventListener('abort', interrupt, { once: true });
    cleanup.push(() => signal?.removeEventListener('abort', interrupt));
    if (signal?.aborted) interrupt();
  });
  return outcome.finally(() => {
    for (const undo of cleanup) undo();
  });
}
