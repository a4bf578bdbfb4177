import { VhostError } from '../errors/errors.js';
import { explain } from '../errors/hints.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel, VringAddresses } from '../kernel/kernel.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Vhost } from './vhost.js';

export interface KernelVhostOptions {
  /** The device node; /dev/vhost-net by default. */
  readonly path?: string;
  readonly kernel?: Kernel;
}

/**
 * The kernel's own vhost-net: the raw tier, 1:1 with its requests. The kernel's refusals come through as they are,
 * with a hint where the cause is known.
 */
export class KernelVhost implements Vhost {
  readonly path: string;
  readonly #kernel: Kernel;
  #fd: number;
  #memory: GuestMemory | undefined;
  /** Detaches under way. */
  #detaching = 0;

  private constructor(kernel: Kernel, path: string, fd: number) {
    this.#kernel = kernel;
    this.path = path;
    this.#fd = fd;
  }

  /** Opens the device. Nothing else is asked of it yet. */
  static open(options: KernelVhostOptions = {}): KernelVhost {
    const { kernel = hostKernel(), path = '/dev/vhost-net' } = options;
    return new KernelVhost(
      kernel,
      path,
      refusable(() => kernel.vhost.open(path)),
    );
  }

  /** The open descriptor. */
  get fd(): number {
    if (this.#fd === -1) throw new VhostError('ERR_VHOST_CLOSED', `${this.path} is closed`);
    return this.#fd;
  }

  getFeatures(): bigint {
    return refusable(() => this.#kernel.vhost.getFeatures(this.fd));
  }

  setFeatures(features: bigint): void {
    refusable(() => this.#kernel.vhost.setFeatures(this.fd, features));
  }

  setOwner(): void {
    refusable(() => this.#kernel.vhost.setOwner(this.fd));
  }

  setMemTable(memory: GuestMemory): void {
    refusable(() => this.#kernel.vhost.setMemTable(this.fd, memory.table()));
    if (this.#memory === memory) return;
    memory.hold();
    this.#memory?.drop();
    this.#memory = memory;
  }

  setLogBase(address: bigint): void {
    refusable(() => this.#kernel.vhost.setLogBase(this.fd, address));
  }

  setLogFd(logFd: number): void {
    refusable(() => this.#kernel.vhost.setLogFd(this.fd, logFd));
  }

  setVringNum(queue: number, size: number): void {
    refusable(() => this.#kernel.vhost.setVringNum(this.fd, queue, size));
  }

  setVringBase(queue: number, base: number): void {
    refusable(() => this.#kernel.vhost.setVringBase(this.fd, queue, base));
  }

  getVringBase(queue: number): number {
    return refusable(() => this.#kernel.vhost.getVringBase(this.fd, queue));
  }

  setVringAddr(queue: number, addresses: VringAddresses): void {
    refusable(() => this.#kernel.vhost.setVringAddr(this.fd, queue, addresses));
  }

  setVringKick(queue: number, eventFd: number): void {
    refusable(() => this.#kernel.vhost.setVringKick(this.fd, queue, eventFd));
  }

  setVringCall(queue: number, eventFd: number): void {
    refusable(() => this.#kernel.vhost.setVringCall(this.fd, queue, eventFd));
  }

  setVringErr(queue: number, eventFd: number): void {
    refusable(() => this.#kernel.vhost.setVringErr(this.fd, queue, eventFd));
  }

  setVringBusyloopTimeout(queue: number, microseconds: number): void {
    refusable(() => this.#kernel.vhost.setVringBusyloopTimeout(this.fd, queue, microseconds));
  }

  setBackend(queue: number, backendFd: number): void {
    refusable(() => this.#kernel.vhost.netSetBackend(this.fd, queue, backendFd));
  }

  async detachBackend(queue: number): Promise<void> {
    const { fd } = this;
    this.#detaching++;
    try {
      await this.#kernel.vhost.netDetachBackend(fd, queue);
    } catch (error) {
      throw explain(error);
    } finally {
      this.#detaching--;
    }
  }

  close(): void {
    if (this.#fd === -1) return;
    if (this.#detaching > 0)
      throw new VhostError(
        'ERR_VHOST_IN_USE',
        `a backend is being detached from ${this.path}; await detachBackend() first`,
      );
    const fd = this.#fd;
    this.#fd = -1;
    try {
      this.#kernel.descriptor.close(fd);
    } finally {
      this.#memory?.drop();
      this.#memory = undefined;
    }
  }
}

function refusable<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw explain(error);
  }
}
