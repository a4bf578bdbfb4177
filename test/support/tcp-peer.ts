import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Namespace } from './device-namespace.js';
import { until } from './until.js';

const program = fileURLToPath(new URL('../guest/programs/tcp-peer.js', import.meta.url));

/** The far end of a guest's TCP transfers, in a process of its own inside a namespace. */
export class TcpPeer {
  readonly #child: ChildProcess;
  /** What it said and nobody has taken yet. */
  #said = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
  }

  /** Starts it at an address of the namespace and waits until it listens; each transfer is of so many bytes. */
  static async start(namespace: Namespace, address: string, bytes: number): Promise<TcpPeer> {
    const node = [process.execPath, program, address, String(bytes)];
    const child = spawn('ip', ['netns', 'exec', namespace.name, ...node], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const peer = new TcpPeer(child);
    await peer.said(/listening/);
    return peer;
  }

  /** Lets a transfer go on beyond its half, or the next one, where none waits. */
  goOn(): void {
    this.#child.stdin!.write('\n');
  }

  /** Waits for a line; what its group matched. What was said before it is forgotten. */
  async said(pattern: RegExp): Promise<string> {
    let found: RegExpExecArray | null = null;
    await until(
      `the peer says ${pattern}`,
      () => {
        const failure = /failed .*/.exec(this.#said);
        if (failure !== null) throw new Error(`the peer's transfer ${failure[0]}`);
        if (this.#child.exitCode !== null) throw new Error('the peer ended');
        found = pattern.exec(this.#said);
        return found !== null;
      },
      400_000,
    );
    const { index, 0: matched, 1: group } = found!;
    this.#said = this.#said.slice(index + matched.length);
    return group ?? '';
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await ended;
  }
}
