import { EventEmitter } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** The ports of the VM's serial device, by the number that init.sh knows. */
export const PORTS = Object.freeze({ control: 1, stdout: 2, stderr: 3, stdin: 4 });
/** @typedef {keyof typeof PORTS | 'terminal'} PortName */

/**
 * Waits at a socket for QEMU, which connects one port to it.
 *
 * @param {string} folder
 * @param {PortName} name
 * @returns {Promise<{path: string, connected: Promise<import('node:net').Socket>, close: () => void}>}
 */
export async function listenPort(folder, name) {
  const path = join(folder, `${name}.sock`);
  const server = createServer();
  /** @type {import('node:net').Socket | undefined} */
  let socket;
  const connected = new Promise((resolve) => {
    server.once('connection', (/** @type {import('node:net').Socket} */ arrived) => {
      socket = arrived;
      // QEMU being killed is how every run ends; what that means is told by its exit.
      arrived.on('error', () => {});
      server.close();
      resolve(arrived);
    });
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve(undefined));
  });
  return {
    path,
    connected,
    close: () => {
      server.close();
      socket?.destroy();
    },
  };
}

/**
 * Finds the mark that ends a stream. Bytes are held back only while they may be its beginning.
 */
export class MarkedStream {
  #mark;
  /** @type {Buffer} */
  #held = Buffer.alloc(0);
  complete = false;

  /** @param {Buffer} mark */
  constructor(mark) {
    this.#mark = mark;
  }

  /**
   * @param {Buffer} chunk what arrived
   * @returns {Buffer} what of it, and of what was held back, is output
   */
  push(chunk) {
    if (this.complete) return Buffer.alloc(0);
    const all = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    const end = all.indexOf(this.#mark);
    if (end >= 0) {
      this.complete = true;
      this.#held = Buffer.alloc(0);
      return all.subarray(0, end);
    }
    let keep = Math.min(this.#mark.length - 1, all.length);
    while (keep > 0 && !all.subarray(all.length - keep).equals(this.#mark.subarray(0, keep))) keep -= 1;
    this.#held = Buffer.from(all.subarray(all.length - keep));
    return all.subarray(0, all.length - keep);
  }

  /** @returns {Buffer} what is still held back when the stream broke off */
  rest() {
    return this.complete ? Buffer.alloc(0) : this.#held;
  }
}

/**
 * What the first process in the VM says, line by line, as events: `ready` (kernel version), `status` (number),
 * `flushed`, `failed` (reason).
 */
export class Control extends EventEmitter {
  #text = '';
  /** @type {import('node:net').Socket} */
  #socket;

  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.on('data', (chunk) => this.#read(chunk.toString()));
  }

  /** @param {string} text */
  #read(text) {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      const [word = '', ...rest] = line.split(' ');
      this.emit(word, rest.join(' '));
    }
  }

  /** @param {string} name a signal without SIG, such as INT */
  sendSignal(name) {
    this.#socket.write(`signal ${name}\n`);
  }

  /** @param {{rows: number, columns: number}} size */
  sendSize({ rows, columns }) {
    this.#socket.write(`size ${rows} ${columns}\n`);
  }
}
