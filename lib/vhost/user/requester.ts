import { VhostError } from '../../errors/errors.js';
import { undo } from '../../errors/undo.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { Message } from '../../socket/framing.js';
import type { UnixConnection } from '../../socket/unix-connection.js';
import {
  answerDescriptors,
  decodeAcknowledgement,
  decodeReply,
  encodeRequest,
  type ReplyPayload,
  type RequestName,
  type RequestPayload,
} from './protocol.js';

interface Pending {
  readonly resolve: (message: Message) => void;
  readonly reject: (error: unknown) => void;
}

/** Requests of a front-end and what comes back for them, in order. It holds the loop while an answer is to come. */
export class Requester {
  /** Whether REPLY_ACK was agreed on: each request without an answer of its own is then acknowledged. */
  acknowledged = false;
  /** Resolves when the connection has ended, whichever side ended it. */
  readonly ended: Promise<void>;
  readonly #kernel: Kernel;
  readonly #connection: UnixConnection;
  readonly #pending: Pending[] = [];
  #error: unknown;

  constructor(kernel: Kernel, connection: UnixConnection) {
    this.#kernel = kernel;
    this.#connection = connection;
    connection.unref();
    this.ended = this.#receive();
  }

  get isOpen(): boolean {
    return this.#connection.isOpen;
  }

  /** A request that is answered. ERR_VHOST_CLOSED, ERR_VHOST_PROTOCOL: the connection ended before it was. */
  async ask<N extends RequestName>(
    name: N,
    payload: RequestPayload<N>,
    fds: readonly number[] = [],
  ): Promise<ReplyPayload<N>> {
    const message = await this.#exchange(encodeRequest(name, payload), fds);
    return this.#judge(message, 0, (bytes) => decodeReply(name, bytes));
  }

  /** A request whose answer comes with descriptors, which are the caller's to close. */
  async askFor<N extends RequestName>(
    name: N,
    payload: RequestPayload<N>,
  ): Promise<{ readonly reply: ReplyPayload<N>; readonly fds: readonly number[] }> {
    const message = await this.#exchange(encodeRequest(name, payload));
    const reply = this.#judge(message, answerDescriptors(name), (bytes) => decodeReply(name, bytes));
    return { reply, fds: message.fds };
  }

  /**
   * A request without an answer of its own. ERR_VHOST_UNSUPPORTED: the back-end says that it was not done, where it says
   * anything at all.
   */
  async tell<N extends RequestName>(
    name: N,
    payload: RequestPayload<N>,
    fds: readonly number[] = [],
  ): Promise<void> {
    if (!this.acknowledged) return this.#send(encodeRequest(name, payload), fds);
    const message = await this.#exchange(encodeRequest(name, payload, true), fds);
    if (!this.#judge(message, 0, (bytes) => decodeAcknowledgement(name, bytes)))
      throw new VhostError('ERR_VHOST_UNSUPPORTED', `the back-end refused ${name}`, {
        request: `VHOST_USER_${name}`,
      });
  }

  close(): void {
    this.#connection.close();
  }

  async #exchange(bytes: Uint8Array, fds: readonly number[] = []): Promise<Message> {
    if (!this.isOpen) throw this.#gone();
    const answer = new Promise<Message>((resolve, reject) => this.#pending.push({ resolve, reject }));
    this.#connection.ref();
    // Rejected together with `answer`: the connection ends by it.
    this.#connection.send(bytes, fds).catch(() => {});
    try {
      return await answer;
    } finally {
      if (this.#pending.length === 0) this.#connection.unref();
    }
  }

  async #send(bytes: Uint8Array, fds: readonly number[]): Promise<void> {
    if (!this.isOpen) throw this.#gone();
    await this.#connection.send(bytes, fds);
  }

  async #receive(): Promise<void> {
    try {
      for await (const message of this.#connection) {
        const pending = this.#pending.shift();
        if (pending === undefined) {
          this.#refuse(message);
          throw new VhostError('ERR_VHOST_PROTOCOL', 'vhost-user: a message that nobody asked for');
        }
        pending.resolve(message);
      }
    } catch (error) {
      this.#error = error;
      this.#connection.close();
    }
    for (const { reject } of this.#pending.splice(0)) reject(this.#gone());
  }

  /** Reads an answer; one that cannot be read ends the connection, for what comes next would be no better. */
  #judge<T>(message: Message, descriptors: number, read: (bytes: Uint8Array) => T): T {
    try {
      const { length } = message.fds;
      if (length !== descriptors)
        throw new VhostError(
          'ERR_VHOST_PROTOCOL',
          `vhost-user: an answer with ${length} descriptors; ${descriptors} are due`,
        );
      return read(message.bytes);
    } catch (error) {
      this.#refuse(message);
      this.#error = error;
      this.close();
      throw error;
    }
  }

  /** Closes the descriptors of a message that is not taken. */
  #refuse({ fds }: Message): void {
    for (const fd of fds) undo(() => this.#kernel.descriptor.close(fd));
  }

  #gone(): unknown {
    return this.#error ?? new VhostError('ERR_VHOST_CLOSED', 'the connection to the back-end has ended');
  }
}
