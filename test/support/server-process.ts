import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { until } from './until.js';

const command = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
const workerServer = fileURLToPath(new URL('../guest/programs/worker-server.js', import.meta.url));

/** A vhost-user server in a process of its own, which tells on its standard error what happens. */
export class ServerProcess {
  readonly pid: number;
  readonly #child: ChildProcess;
  #said = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid!;
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
  }

  /** Starts `vhost-net proxy` and waits until it listens. */
  static proxy(...args: string[]): Promise<ServerProcess> {
    return ServerProcess.#start(command, 'proxy', ...args);
  }

  /** Starts a server over the worker, on a tap of a namespace, and waits until it listens. */
  static worker(socket: string, tap: string, netns: string): Promise<ServerProcess> {
    return ServerProcess.#start(workerServer, socket, tap, netns);
  }

  static async #start(...args: string[]): Promise<ServerProcess> {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'pipe'] });
    const server = new ServerProcess(child);
    await until('the server listens', () => {
      if (child.exitCode !== null) throw new Error(`the server ended: ${server.said}`);
      return /listening/.test(server.said);
    });
    return server;
  }

  /** Its exit status, `null` while it runs. */
  get status(): number | null {
    return this.#child.exitCode;
  }

  /** All that it has said so far. */
  get said(): string {
    return this.#said;
  }

  /** Ends it and waits for that; its status, `null` where it was killed. */
  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode;
    const ended = once(this.#child, 'exit');
    this.#child.kill(signal);
    const [status] = await ended;
    return status as number | null;
  }
}
