import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { long } from './random.js';
import { until } from './until.js';

/** How many frames testpmd and a test exchange. */
export const FRAMES = long ? 1_000_000 : 20_000;

/** Frames under way at once: testpmd drops what its transmit ring of 256 has no room for. */
export const WINDOW = 128;

/** What testpmd counted of all its ports, by its own word when it ended. */
export interface PortCounters {
  readonly received: number;
  readonly transmitted: number;
}

/** Debian's dpdk-testpmd in a process of its own. */
export class Testpmd {
  readonly #child: ChildProcess;
  #output = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
  }

  /** Starts it and waits until it forwards; `devices` are --vdev, `mode` one of its forwarding modes. */
  static async start(
    prefix: string,
    devices: readonly string[],
    mode: string,
    ...more: string[]
  ): Promise<Testpmd> {
    const eal = [
      // Each thread may run on either processor, so that it need not share one with the kernel's worker.
      ...['--lcores=0@(0-1),1@(0-1)', `--file-prefix=${prefix}`, '--no-huge', '-m', '256', '--no-pci'],
      ...['--no-telemetry', '--iova-mode=va', ...devices.map((device) => `--vdev=${device}`)],
    ];
    const own = [
      `--forward-mode=${mode}`,
      '--auto-start',
      '--total-num-mbufs=8192',
      '--no-lsc-interrupt',
      '--no-flush-rx',
    ];
    // What it prints tells when it runs; to a pipe it would come late. It ends with its standard input.
    const program = ['-oL', 'dpdk-testpmd', ...eal, '--', ...own, '--stats-period=3600', ...more];
    const testpmd = new Testpmd(spawn('stdbuf', program, { stdio: ['pipe', 'pipe', 'pipe'] }));
    await testpmd.said(/packet forwarding - ports=/);
    return testpmd;
  }

  /** Waits until it has printed something. */
  async said(what: RegExp): Promise<void> {
    await until(`testpmd prints ${what}`, () => {
      if (this.#child.exitCode !== null) throw new Error(`testpmd ended: ${this.#output}`);
      return what.test(this.#output);
    });
  }

  /** Ends it in good order; what it counted. */
  async stop(): Promise<PortCounters> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit');
      this.#child.kill('SIGINT');
      await ended;
    }
    const last = /Accumulated forward statistics[\s\S]*?RX-packets: (\d+)[\s\S]*?TX-packets: (\d+)/.exec(
      this.#output,
    );
    if (last === null) throw new Error(`testpmd told no counters: ${this.#output}`);
    return { received: Number(last[1]), transmitted: Number(last[2]) };
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
