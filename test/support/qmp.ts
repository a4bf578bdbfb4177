import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { until } from './until.js';

/** What QEMU says: a greeting, an event, or the answer to a command. */
interface Said {
  readonly QMP?: unknown;
  readonly event?: string;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

/** QEMU's monitor at a unix socket, for a program (QEMU, docs/interop/qmp-spec.txt): a command at a time. */
export class Qmp {
  readonly #socket: Socket;
  readonly #answers: AsyncIterator<Said>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#answers = answers(socket);
  }

  /** Connects as soon as QEMU listens. */
  static async connect(path: string): Promise<Qmp> {
    let socket: Socket | undefined;
    await until(`QEMU listens at ${path}`, async () => {
      const tried = createConnection(path);
      try {
        await once(tried, 'connect');
        socket = tried;
      } catch {
        // It is still on its way.
      }
      return socket !== undefined;
    });
    const qmp = new Qmp(socket!);
    await qmp.run('qmp_capabilities');
    return qmp;
  }

  /** Runs a command; what it returned. */
  async run(command: string, options: Record<string, unknown> = {}): Promise<unknown> {
    this.#socket.write(JSON.stringify({ execute: command, arguments: options }));
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`QEMU ended during ${command}`);
    if (value.error !== undefined) throw new Error(`${command}: ${value.error.desc}`);
    return value.return;
  }

  close(): void {
    this.#socket.destroy();
  }
}

async function* answers(socket: Socket): AsyncGenerator<Said> {
  for await (const line of createInterface({ input: socket })) {
    const said: Said = JSON.parse(line);
    if (said.QMP === undefined && said.event === undefined) yield said;
  }
}
