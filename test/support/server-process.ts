import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { until } from './until.js';

const command = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** The user nobody, with no other group and no capability, as `status` of proc(5) tells of a thread. */
export const WITHOUT_PRIVILEGES = new RegExp(
  [
    '^Uid:(\\t65534){4}$',
    'Gid:(\\t65534){4}$',
    'Groups:\\s*$',
    ...['CapInh', 'CapPrm', 'CapEff'].map((set) => `${set}:\\t0+$`),
  ].join('[^]*^'),
  'm',
);

/** `vhost-net proxy` in a process of its own, which tells on its standard error what happens. */
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
    return ServerProcess.proxyUnder([], ...args);
  }

  /** Has another program, such as setpriv with its arguments, start it. */
  static async proxyUnder(under: readonly string[], ...args: string[]): Promise<ServerProcess> {
    const [program, ...rest] = [...under, process.execPath, command, 'proxy', ...args];
    const child = spawn(program!, rest, { stdio: ['ignore', 'inherit', 'pipe'] });
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

  /** What proc(5) tells of each of its threads; the kernel's worker is one. */
  threads(): string[] {
    const folder = `/proc/${this.pid}/task`;
    return readdirSync(folder).map((thread) => readFileSync(`${folder}/${thread}/status`, 'utf8'));
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
