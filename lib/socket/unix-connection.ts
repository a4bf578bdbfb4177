import { setImmediate as nextTurn } from 'node:timers/promises';
import { VhostError } from '../errors/errors.js';
import { explain } from '../errors/hints.js';
import { undo } from '../errors/undo.js';
import type { Kernel, PeerCredentials } from '../kernel/kernel.js';
import type { Framing, Message } from './framing.js';
import { MessageReader } from './message-reader.js';
import { Readiness } from './readiness.js';

/** Messages that may wait until the peer takes them. */
const MAX_WAITING = 64;

/** Messages taken without a wait before the loop gets its turn, so that a peer that floods stops nobody else. */
const MESSAGES_A_TURN = 64;

interface Outgoing {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
  sent: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Messages with descriptors, both ways over a unix stream socket. Nothing is read ahead: what nobody receives stays in
 * the socket, and the peer waits. After an error of the socket or of the peer the connection is closed.
 */
export class UnixConnection {
  /** Resolves when the connection is closed; with the error, where one closed it. */
  readonly closed: Promise<unknown>;
  readonly #kernel: Kernel;
  readonly #reader: MessageReader;
  readonly #readiness: Readiness;
  readonly #outgoing: Outgoing[] = [];
  #fd: number;
  #receiving = false;
  #taken = 0;
  #closed: (error?: unknown) => void = () => {};

  /** Takes over a connected socket of this environment. */
  constructor(kernel: Kernel, fd: number, framing: Framing) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#reader = new MessageReader(kernel, framing);
    this.#readiness = new Readiness(kernel);
    this.closed = new Promise((resolve) => {
      this.#closed = resolve;
    });
  }

  /** Connects to the socket at `path`. ENOENT, ECONNREFUSED: nobody listens there. EAGAIN: too many wait already. */
  static connect(kernel: Kernel, path: string, framing: Framing): UnixConnection {
    try {
      return new UnixConnection(kernel, kernel.passing.connect(path), framing);
    } catch (error) {
      throw explain(error);
    }
  }

  /** Two connections to each other. */
  static pair(kernel: Kernel, framing: Framing): [UnixConnection, UnixConnection] {
    const [first, second] = kernel.passing.pair();
    return [new UnixConnection(kernel, first, framing), new UnixConnection(kernel, second, framing)];
  }

  get isOpen(): boolean {
    return this.#fd !== -1;
  }

  /** Who is at the other end. */
  get peer(): PeerCredentials {
    if (this.#fd === -1) throw closed();
    return this.#kernel.passing.peerCredentials(this.#fd);
  }

  /**
   * Sends a message; resolves once the kernel has all of it. Until then its bytes and descriptors must stay as they are;
   * the caller closes the descriptors. ERR_VHOST_QUEUE_FULL: 64 messages wait for the peer already.
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    if (this.#fd === -1) return Promise.reject(closed());
    if (this.#outgoing.length >= MAX_WAITING)
      return Promise.reject(
        new VhostError('ERR_VHOST_QUEUE_FULL', `${MAX_WAITING} messages wait for the peer to take them`),
      );
    return new Promise((resolve, reject) => {
      this.#outgoing.push({ bytes, fds, sent: 0, resolve, reject });
      if (this.#outgoing.length === 1) this.#flush();
    });
  }

  /**
   * The next message; `undefined` once the peer has ended the stream, or the connection was closed here. An aborted wait
   * loses nothing. ERR_VHOST_IN_USE: another `receive` waits. ERR_VHOST_PROTOCOL: the peer sent what the framing does
   * not allow, or ended amid a message.
   */
  async receive({
    signal,
  }: {
    readonly signal?: AbortSignal | undefined;
  } = {}): Promise<Message | undefined> {
    if (this.#receiving) throw new VhostError('ERR_VHOST_IN_USE', 'another receive waits on this connection');
    this.#receiving = true;
    try {
      while (this.#fd !== -1) {
        try {
          const message = this.#reader.read(this.#fd);
          if (message === undefined) this.close();
          else if (++this.#taken % MESSAGES_A_TURN === 0) await nextTurn();
          return message;
        } catch (error) {
          if (!isAgain(error)) throw this.#fail(error);
        }
        await this.#readiness.wait(this.#fd, 'readable', signal).catch((error: unknown) => {
          if (this.#fd !== -1) throw error;
        });
      }
      return undefined;
    } finally {
      this.#receiving = false;
    }
  }

  /** Every message until the stream ends; `close` ends it too. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, void> {
    for (let message = await this.receive(); message !== undefined; message = await this.receive())
      yield message;
  }

  /** Whether waits on this connection hold the loop, as they do from the start. */
  ref(): void {
    this.#readiness.referenced = true;
  }

  unref(): void {
    this.#readiness.referenced = false;
  }

  /** Ends the connection; what waits to be sent is rejected with ERR_VHOST_CLOSED. Idempotent. */
  close(): void {
    this.#end(undefined);
  }

  #flush(): void {
    while (this.#outgoing.length > 0 && this.#fd !== -1) {
      const message = this.#outgoing[0]!;
      try {
        const fds = message.sent === 0 ? message.fds : [];
        message.sent += this.#kernel.passing.send(this.#fd, message.bytes.subarray(message.sent), fds);
      } catch (error) {
        if (!isAgain(error)) {
          this.#fail(error);
          return;
        }
        this.#readiness.wait(this.#fd, 'writable').then(
          () => this.#flush(),
          (error: unknown) => this.#fail(error),
        );
        return;
      }
      if (message.sent < message.bytes.length) continue;
      this.#outgoing.shift();
      message.resolve();
    }
  }

  #fail(error: unknown): unknown {
    this.#end(error);
    return error;
  }

  #end(error: unknown): void {
    if (this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#readiness.close();
    this.#reader.dispose();
    undo(() => this.#kernel.descriptor.close(fd));
    for (const { reject } of this.#outgoing.splice(0)) reject(error ?? closed());
    this.#closed(error);
  }
}

function closed(): VhostError {
  return new VhostError('ERR_VHOST_CLOSED', 'the connection is closed');
}

/** EAGAIN: the socket has nothing, or no room, now. */
function isAgain(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN';
}
