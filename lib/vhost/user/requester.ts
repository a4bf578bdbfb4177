import { VhostError } from '../../errors/errors.js';
import type { UnixConnection } from '../../socket/unix-connection.js';
import {
  decodeAcknowledgement,
  decodeReply,
  encodeRequest,
  type ReplyPayload,
  type RequestName,
  type RequestPayload,
} from './protocol.js';

interface Pending {
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/** Requests of a front-end and what comes back for them, in order. It holds the loop while an answer is to come. */
export class Requester {
  /** Whether REPLY_ACK was agreed on: each request without an answer of its own is then acknowledged. */
  acknowledged = false;
  /** Resolves when the connection has ended, whichever side ended it. */
  readonly ended: Promise<void>;
  readonly #connection: UnixConnection;
  readonly #pending: Pending[] = [];
  #error: unknown;

  constructor(connection: UnixConnection) {
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
    const bytes = await this.#exchange(encodeRequest(name, payload), fds);
    return this.#judge(() => decodeReply(name, bytes));
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
    const bytes = await this.#exchange(encodeRequest(name, payload, true), fds);
    if (!this.#judge(() => decodeAcknowledgement(name, bytes)))
      throw new VhostError('ERR_VHOST_UNSUPPORTED', `the back-end refused ${name}`, {
        request: `VHOST_USER_${name}`,
      });
  }

  close(): void {
    this.#connection.close();
  }

  async #exchange(bytes: Uint8Array, fds: readonly number[]): Promise<Uint8Array> {
    if (!this.isOpen) throw this.#gone();
    const answer = new Promise<Uint8Array>((resolve, reject) => this.#pending.push({ resolve, reject }));
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
      for await (const { bytes } of this.#connection) {
        const pending = this.#pending.shift();
        if (pending === undefined)
          throw new VhostError('ERR_VHOST_PROTOCOL', 'vhost-user: a message that nobody asked for');
        pending.resolve(bytes);
      }
    } catch (error) {
      this.#error = error;
      this.#connection.close();
    }
    for (const { reject } of this.#pending.splice(0)) reject(this.#gone());
  }

  /** Reads an answer; one that cannot be read ends the connection, for what comes next would be no better. */
  #judge<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      this.#error = error;
      this.close();
      throw error;
    }
  }

  #gone(): unknown {
    return this.#error ?? new VhostError('ERR_VHOST_CLOSED', 'the connection to the back-end has ended');
  }
}
