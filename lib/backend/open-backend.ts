import { VhostError } from '../errors/errors.js';
import { undo } from '../errors/undo.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, BackendKind, LinkState, Offload } from './backend.js';
import type { NetworkInterface } from './network-interface.js';

export interface OpenBackendParts {
  readonly kernel: Kernel;
  readonly kind: BackendKind;
  /** A descriptor for each queue; they become the backend's to close. */
  readonly queues: readonly number[];
  readonly interface: NetworkInterface;
  readonly headerSize: number;
  readonly offloads: readonly Offload[];
  /** Agrees on other offloads; absent where that is not to be had. */
  readonly agree?: (wanted: boolean | readonly Offload[]) => readonly Offload[];
  readonly linkState: LinkState;
  /** Throws where the interface is gone. */
  readonly probe: () => void;
  /** Has frames spread over a queue, or not; absent where that is not to be had. */
  readonly switchQueue?: (fd: number, on: boolean) => void;
}

/** A backend that is open; what opens one is in the file of its kind. */
export class OpenBackend implements Backend {
  readonly kind: BackendKind;
  readonly interface: NetworkInterface;
  readonly headerSize: number;
  readonly linkState: LinkState;
  readonly setOffloads: Backend['setOffloads'];
  readonly #kernel: Kernel;
  readonly #probe: () => void;
  readonly #switchQueue: OpenBackendParts['switchQueue'];
  /** Queues that were switched off. */
  readonly #off = new Set<number>();
  #queues: readonly number[];
  #offloads: readonly Offload[];

  constructor(parts: OpenBackendParts) {
    this.#kernel = parts.kernel;
    this.#queues = parts.queues;
    this.#probe = parts.probe;
    this.#switchQueue = parts.switchQueue;
    this.kind = parts.kind;
    this.interface = parts.interface;
    this.headerSize = parts.headerSize;
    this.#offloads = parts.offloads;
    this.linkState = parts.linkState;
    const { agree } = parts;
    this.setOffloads = agree && ((wanted) => (this.#offloads = agree(wanted)));
  }

  get fd(): number {
    return this.#queues[0] ?? -1;
  }

  get offloads(): readonly Offload[] {
    return this.#offloads;
  }

  get queues(): readonly number[] {
    return this.#queues;
  }

  alive(): boolean {
    if (this.#queues.length === 0) return false;
    try {
      this.#probe();
      return true;
    } catch {
      return false;
    }
  }

  switchQueue(queue: number, on: boolean): void {
    if (on !== this.#off.has(queue)) return;
    if (this.#switchQueue === undefined)
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        `a ${this.kind} that was opened with one queue has none to leave out`,
      );
    this.#switchQueue(this.#queues[queue]!, on);
    if (on) this.#off.delete(queue);
    else this.#off.add(queue);
  }

  close(): void {
    if (this.#queues.length === 0) return;
    const fds = this.#queues;
    this.#queues = [];
    const failures: unknown[] = [];
    for (const step of [
      () => this.interface.close(),
      ...fds.map((fd) => () => this.#kernel.descriptor.close(fd)),
    ])
      try {
        step();
      } catch (error) {
        failures.push(error);
      }
    if (failures.length > 0) throw failures[0];
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Notes what an opening has opened so far, and gives it back. */
export interface Keep {
  fd(fd: number): number;
  interface(device: NetworkInterface): NetworkInterface;
}

/**
 * Opens step by step: `build` takes what `keep` notes on its way, and where a step throws, all that was noted is closed.
 */
export function openWhole(kernel: Kernel, build: (keep: Keep) => Backend): Backend {
  const opened: (() => void)[] = [];
  try {
    return build({
      fd: (fd) => {
        opened.push(() => kernel.descriptor.close(fd));
        return fd;
      },
      interface: (device) => {
        opened.push(() => device.close());
        return device;
      },
    });
  } catch (error) {
    for (const step of opened.reverse()) undo(step);
    throw error;
  }
}
