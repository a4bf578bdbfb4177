import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { undo } from '../../errors/undo.js';
import { hostKernel } from '../../kernel/host.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { Message } from '../../socket/framing.js';
import type { UnixConnection } from '../../socket/unix-connection.js';
import { type ListenOptions, UnixListener } from '../../socket/unix-listener.js';
import type { Awaitable } from '../vhost.js';
import type { VhostUserDevice } from './device.js';
import { type RequestName, requestFraming } from './protocol.js';
import { VhostUserSession } from './session.js';

/** How long a process that has no descriptor left for another peer waits before it looks again, in milliseconds. */
const RETRY = 100;

export interface VhostUserServerOptions extends ListenOptions {
  /** The unix socket to listen at. */
  readonly path: string;
  /** Gives each connection its device, at its first request; a connection for which it throws is closed. */
  readonly device: () => Awaitable<VhostUserDevice>;
  /** The operating system; this host by default. */
  readonly kernel?: Kernel;
}

export interface VhostUserServerEvents {
  /** A front-end connected and has said something. */
  connect: [session: VhostUserSession];
  /** It is gone; with an error where it did not just leave. */
  disconnect: [session: VhostUserSession, error: unknown];
  /** A request of it was not done, and it was told. */
  refuse: [session: VhostUserSession, request: RequestName, error: unknown];
  /** A peer could not be served at all. */
  reject: [error: unknown];
}

/**
 * The back-end's side of vhost-user, in front of any `Vhost`: listens, and turns what front-ends such as QEMU and DPDK
 * ask for into the requests of a device. A front-end that comes again goes on where its rings say it was.
 */
export class VhostUserServer extends EventEmitter<VhostUserServerEvents> {
  readonly #kernel: Kernel;
  readonly #listener: UnixListener;
  readonly #device: VhostUserServerOptions['device'];
  readonly #sessions = new Map<UnixConnection, Promise<void>>();
  readonly #accepting: Promise<void>;

  private constructor(kernel: Kernel, listener: UnixListener, device: VhostUserServerOptions['device']) {
    super();
    this.#kernel = kernel;
    this.#listener = listener;
    this.#device = device;
    this.#accepting = this.#accept();
  }

  /** Listens. EADDRINUSE: something else is at `path`, or somebody listens there. */
  static listen(options: VhostUserServerOptions): VhostUserServer {
    const { kernel = hostKernel(), path, device, ...listen } = options;
    return new VhostUserServer(kernel, UnixListener.listen(kernel, path, requestFraming, listen), device);
  }

  get path(): string {
    return this.#listener.path;
  }

  /** Listens no more, ends every connection and stops their devices. Idempotent. */
  async close(): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    for (const connection of this.#sessions.keys()) connection.close();
    await Promise.all(this.#sessions.values());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #accept(): Promise<void> {
    while (this.#listener.isOpen) {
      try {
        const connection = await this.#listener.accept();
        if (connection === undefined) return;
        const served = this.#serve(connection).finally(() => this.#sessions.delete(connection));
        this.#sessions.set(connection, served);
      } catch (error) {
        this.emit('reject', error);
        await sleep(RETRY);
      }
    }
  }

  async #serve(connection: UnixConnection): Promise<void> {
    let first: Message | undefined;
    let device: VhostUserDevice;
    try {
      first = await connection.receive();
      // Somebody looked whether anybody listens, as the next server that wants the socket does: no front-end.
      if (first === undefined) return;
      device = await this.#device();
    } catch (error) {
      for (const fd of first?.fds ?? []) undo(() => this.#kernel.descriptor.close(fd));
      connection.close();
      this.emit('reject', error);
      return;
    }
    const session = new VhostUserSession(this.#kernel, connection, device, (request, error) =>
      this.emit('refuse', session, request, error),
    );
    // The server may have been closed meanwhile; then the session ends at once, and gives the device back.
    const { isOpen } = connection;
    if (isOpen) this.emit('connect', session);
    let failure: unknown;
    try {
      await session.run(first);
    } catch (error) {
      failure = error;
    }
    if (isOpen) this.emit('disconnect', session, failure);
  }
}
