import { wrongValue } from '../../errors/check.js';
import { VhostError } from '../../errors/errors.js';
import { hostKernel } from '../../kernel/host.js';
import type { Kernel, VringAddresses } from '../../kernel/kernel.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import { UnixConnection } from '../../socket/unix-connection.js';
import type { LogFile, Vhost } from '../vhost.js';
import { replyFraming } from './protocol.js';
import { RemoteDevice } from './remote-device.js';

export interface VhostUserClientOptions {
  /** The unix socket at which the back-end listens. */
  readonly path: string;
  /** Queue pairs, which the back-end must have, up to 128; 1 by default. */
  readonly queuePairs?: number;
  /** The operating system; this host by default. */
  readonly kernel?: Kernel;
}

/**
 * A vhost net device in another process, spoken to as vhost-user: the front-end's side, as one more `Vhost`. The other
 * process maps the memory; so its regions are memfds, as those of `GuestMemory` are. What the backend behind it is, it
 * knows by itself: `setBackend` only starts a queue.
 *
 * A device of several pairs is a `Vhost` for each, `pairs`, over one connection. What all queues share is told by each of
 * them, and the connection ends when all are closed.
 *
 * When the connection is lost, each running queue is stopped and its error eventfd signalled; the next `setBackend`
 * connects anew and tells the back-end everything again. Where the back-end notes what it has in flight
 * (INFLIGHT_SHMFD), the next returns it, unless `setVringBase` says meanwhile that the driver has given it up.
 */
export class VhostUserClient implements Vhost {
  /** The client of each pair of the device, this one among them. */
  readonly pairs: readonly VhostUserClient[];
  readonly #device: RemoteDevice;
  /** The first queue of the pair. */
  readonly #first: number;
  #memory: GuestMemory | undefined;
  #closed = false;

  private constructor(device: RemoteDevice, pairs: VhostUserClient[]) {
    this.#device = device;
    this.#first = 2 * pairs.length;
    this.pairs = pairs;
    pairs.push(this);
  }

  /**
   * Connects to the back-end; the client of its first pair. ENOENT, ECONNREFUSED: nobody listens at `path`.
   * ERR_VHOST_UNSUPPORTED: it has fewer pairs.
   */
  static async connect(options: VhostUserClientOptions): Promise<VhostUserClient> {
    const { path, queuePairs, kernel = hostKernel() } = options;
    const connection = UnixConnection.connect(kernel, path, replyFraming);
    return VhostUserClient.over(connection, path, kernel, queuePairs);
  }

  /** Speaks to a back-end that connected, or was given, to this process; `path` is where to find it again. */
  static async over(
    connection: UnixConnection,
    path: string,
    kernel = hostKernel(),
    queuePairs = 1,
  ): Promise<VhostUserClient> {
    const device = await RemoteDevice.greet(kernel, path, connection, queuePairs);
    const pairs: VhostUserClient[] = [];
    while (pairs.length < queuePairs) new VhostUserClient(device, pairs);
    return pairs[0]!;
  }

  get path(): string {
    return this.#device.path;
  }

  /** VHOST_USER_GET_FEATURES, without what vhost-user and the kernel mean by bits of their own. */
  async getFeatures(): Promise<bigint> {
    return this.#open.getFeatures();
  }

  /** VHOST_USER_SET_FEATURES; told anew to a back-end that is connected to again. */
  async setFeatures(features: bigint): Promise<void> {
    return this.#open.setFeatures(features);
  }

  /** VHOST_USER_SET_OWNER: the session begins. */
  async setOwner(): Promise<void> {
    return this.#open.setOwner();
  }

  /**
   * VHOST_USER_SET_MEM_TABLE, or ADD_MEM_REG and REM_MEM_REG for what changed; the regions' memfds go with them.
   * ERR_VHOST_OUT_OF_RANGE: more regions than the back-end takes; 8 unless it has CONFIGURE_MEM_SLOTS.
   */
  async setMemTable(memory: GuestMemory): Promise<void> {
    await this.#open.setMemTable(memory);
    memory.hold(this);
    if (this.#memory === memory) return;
    this.#memory?.drop(this);
    this.#memory = memory;
  }

  /** VHOST_USER_SET_LOG_BASE with the log's memfd. ERR_VHOST_UNSUPPORTED: the back-end does not log (LOG_SHMFD). */
  async setLogBase(_address: bigint, file?: LogFile): Promise<void> {
    return this.#open.setLogBase(file);
  }

  /** VHOST_USER_SET_LOG_FD. ERR_VHOST_UNSUPPORTED for -1: the protocol cannot take it back. */
  async setLogFd(logFd: number): Promise<void> {
    return this.#open.setLogFd(logFd);
  }

  /** Descriptors, a power of two up to 32,768; told when the queue starts. ERR_VHOST_IN_USE: it runs. */
  setVringNum(queue: number, size: number): void {
    this.#open.setVringNum(this.#index(queue), size);
  }

  /**
   * The available index at which the device begins; told when the queue starts. ERR_VHOST_IN_USE: it runs. Also says that
   * nothing of the queue is in flight: after a lost connection, no device will return it.
   */
  setVringBase(queue: number, base: number): void {
    this.#open.setVringBase(this.#index(queue), base);
  }

  /**
   * Where the device stopped. After the connection was lost that is behind the chains that it noted to have, which it took
   * and has not returned; where it notes none, the used index: what else it had taken, nobody knows.
   */
  getVringBase(queue: number): number {
    return this.#open.getVringBase(this.#index(queue));
  }

  /** VHOST_USER_SET_VRING_ADDR: user addresses of the parts; told at once where the queue runs, otherwise when it starts. */
  async setVringAddr(queue: number, addresses: VringAddresses): Promise<void> {
    await this.#open.setVringAddr(this.#index(queue), addresses);
  }

  /** VHOST_USER_SET_VRING_KICK: an eventfd, -1 for polling; told at once where the queue runs, otherwise when it starts. */
  async setVringKick(queue: number, eventFd: number): Promise<void> {
    await this.#open.setFile(this.#index(queue), 'kick', eventFd);
  }

  /** VHOST_USER_SET_VRING_CALL: an eventfd, -1 for none; told as `setVringKick` does. */
  async setVringCall(queue: number, eventFd: number): Promise<void> {
    await this.#open.setFile(this.#index(queue), 'call', eventFd);
  }

  /** VHOST_USER_SET_VRING_ERR: an eventfd, -1 for none; told as `setVringKick` does. */
  async setVringErr(queue: number, eventFd: number): Promise<void> {
    await this.#open.setFile(this.#index(queue), 'err', eventFd);
  }

  /** ERR_VHOST_UNSUPPORTED: vhost-user has no such request. */
  setVringBusyloopTimeout(): void {
    throw new VhostError('ERR_VHOST_UNSUPPORTED', 'vhost-user has no busy-loop timeout');
  }

  /** Starts the queue; the descriptor says nothing to a device in another process, but for -1. */
  async setBackend(queue: number, backendFd: number): Promise<void> {
    if (backendFd === -1) return this.detachBackend(queue);
    await this.#open.setBackend(this.#index(queue));
  }

  /**
   * VHOST_USER_SET_VRING_ENABLE with 0, then GET_VRING_BASE, which stops the queue; resolves when the device has let go of
   * its buffers. Where the connection is lost meanwhile it has too. ERR_VHOST_PROTOCOL: the base is none.
   */
  async detachBackend(queue: number): Promise<void> {
    await this.#device.detachBackend(this.#index(queue));
  }

  /** Ends the session, once every pair is closed: the back-end stops and lets go of the memory. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#memory?.drop(this);
    this.#memory = undefined;
    if (this.pairs.every((pair) => pair.#closed)) this.#device.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #open(): RemoteDevice {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', `${this.path} is closed`);
    return this.#device;
  }

  #index(queue: number): number {
    if (queue !== 0 && queue !== 1) throw wrongValue('queue', '0 or 1', queue);
    return this.#first + queue;
  }
}
