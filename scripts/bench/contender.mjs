import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { threadStates, threadTimes } from './process-counters.mjs';
import { threadCalls } from './system-calls.mjs';

/** A program that could not do its part; no row is filled without it. */
export class BenchError extends Error {}

/**
 * @typedef {object} ContenderOptions
 * @property {string} name 'ring', 'friendly', 'limit.c', 'testpmd txonly' …
 * @property {string[]} command
 * @property {string} tap the interface it drives
 * @property {RegExp} [ready] what it prints when it runs; default "ready"
 * @property {boolean} [inKernel] what is measured runs in no thread of the program
 */
/**
 * @typedef {object} Spent
 * @property {Map<string, number>} cpu seconds of processor time, by thread name
 * @property {Map<string, number>} calls system calls, by thread name; empty while nobody counts them
 */

/** A program under measurement: started once, stopped in its tracks while it is not its turn. */
export class Contender {
  /** @param {ContenderOptions} options */
  constructor({ name, command, tap, ready = /^ready/m, inKernel = false }) {
    this.name = name;
    this.tap = tap;
    this.command = command;
    this.ready = ready;
    this.inKernel = inKernel;
    /** Whether its system calls are being counted. */
    this.counted = false;
    this.output = '';
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.process = undefined;
  }

  get pid() {
    return this.process?.pid ?? -1;
  }

  async start() {
    const [program = '', ...args] = this.command;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.process = child;
    this.lines = createInterface({ input: child.stdout });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        this.output = (this.output + chunk).slice(-20_000);
      });
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject)).catch(
      (cause) => {
        throw new BenchError(`${this.name}: ${program} cannot be started: ${cause.message}`);
      },
    );
    const deadline = Date.now() + 90_000;
    while (!this.ready.test(this.output)) {
      this.mustRun();
      if (Date.now() > deadline) throw this.failure('is not ready after 90 s');
      await sleep(50);
    }
  }

  /**
   * Asks a program that measures by itself for one measurement.
   *
   * @param {string} request
   * @param {number} [patience] in milliseconds
   * @returns {Promise<any>}
   */
  async ask(request, patience = 120_000) {
    const { process: child, lines } = this;
    if (!child?.stdin || !lines) throw this.failure('was not started');
    const answer = once(lines, 'line', { signal: AbortSignal.timeout(patience) });
    child.stdin.write(`${request}\n`);
    try {
      return JSON.parse((await answer)[0]);
    } catch (cause) {
      throw this.failure(`gave no answer to "${request}": ${cause}`);
    }
  }

  pause() {
    this.#signal('SIGSTOP');
  }

  resume() {
    this.#signal('SIGCONT');
  }

  /** What it has cost so far; null where its threads do not tell. @returns {Spent | null} */
  spent() {
    this.mustRun();
    if (this.inKernel) return null;
    return { cpu: threadTimes(this.pid), calls: this.counted ? threadCalls(this.pid) : new Map() };
  }

  mustRun() {
    const { exitCode, signalCode } = this.process ?? {};
    if (exitCode === null && signalCode === null) return;
    throw this.failure(`ended (${exitCode ?? signalCode})`);
  }

  /** @param {string} what */
  failure(what) {
    const threads = this.process?.exitCode === null ? threadStates(this.pid) : '';
    return new BenchError(
      `${this.name} ${what}: ${this.command.join(' ')}\n${threads}\n${this.output.slice(-3000)}`,
    );
  }

  async stop() {
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    this.#signal('SIGCONT');
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(late);
  }

  /** @param {NodeJS.Signals} signal */
  #signal(signal) {
    this.mustRun();
    // The group: what the program started itself rests with it.
    process.kill(-this.pid, signal);
  }
}
