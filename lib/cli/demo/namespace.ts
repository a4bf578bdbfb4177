import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type ProgramOptions, type ProgramResult, runProgram } from './program.js';

// Without IPv6 the kernel says nothing unasked, so that every frame counted was caused by a ping.
const HOLD = `
  for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$file"; done 2>/dev/null
  ip link set lo up && echo ready && exec cat
`;

/**
 * A network namespace of our own, so that nothing of the host's network is touched. It has no name and no file: a
 * process holds it for as long as its input stays open, hence no longer than this program lives, however it ends.
 */
export class NetworkNamespace {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async create(): Promise<NetworkNamespace> {
    const holder = spawn('unshare', ['--net', '/bin/sh', '-c', HOLD], { stdio: ['pipe', 'pipe', 'pipe'] });
    const complaint: string[] = [];
    holder.stderr.setEncoding('utf8').on('data', (chunk: string) => complaint.push(chunk));
    const why = await Promise.race([
      once(holder.stdout, 'data').then(() => undefined),
      once(holder, 'close').then(
        () => complaint.join('').trim() || 'unshare failed',
        (error: Error) => error.message,
      ),
    ]);
    if (why !== undefined)
      throw new Error(
        `a network namespace cannot be made: ${why}. It needs root, unshare (package util-linux) and ip (package ` +
          'iproute2); or run in a VM: npm run demo -- --vm',
      );
    return new NetworkNamespace(holder);
  }

  /** The file that stands for the namespace. */
  get path(): string {
    return `/proc/${this.#holder.pid}/ns/net`;
  }

  /** Runs a program inside. */
  run(program: string, args: readonly string[], options?: ProgramOptions): Promise<ProgramResult> {
    return runProgram('nsenter', [`--net=${this.path}`, '--', program, ...args], options);
  }

  /** As `run`, for programs that must succeed. */
  async must(program: string, args: readonly string[], options?: ProgramOptions): Promise<void> {
    const { status, stderr } = await this.run(program, args, options);
    if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${stderr.trim()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#holder, 'close');
    this.#holder.stdin?.end();
    await ended;
  }
}
