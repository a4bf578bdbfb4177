import { undo } from '../errors/undo.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, BackendKind, LinkState, Offload } from './backend.js';
import type { NetworkInterface } from './network-interface.js';

export interface OpenBackendParts {
  readonly kernel: Kernel;
  readonly kind: BackendKind;
  /** Becomes the backend's to close. */
  readonly fd: number;
  readonly interface: NetworkInterface;
  readonly headerSize: number;
  readonly offloads: readonly Offload[];
  readonly linkState: LinkState;
  /** Throws where the interface is gone. */
  readonly probe: () => void;
}

/** A backend that is open; what opens one is in the file of its kind. */
export class OpenBackend implements Backend {
  readonly kind: BackendKind;
  readonly interface: NetworkInterface;
  readonly headerSize: number;
  readonly offloads: readonly Offload[];
  readonly linkState: LinkState;
  readonly #kernel: Kernel;
  readonly #probe: () => void;
  #fd: number;

  constructor(parts: OpenBackendParts) {
    this.#kernel = parts.kernel;
    this.#fd = parts.fd;
    this.#probe = parts.probe;
    this.kind = parts.kind;
    this.interface = parts.interface;
    this.headerSize = parts.headerSize;
    this.offloads = parts.offloads;
    this.linkState = parts.linkState;
  }

  get fd(): number {
    return this.#fd;
  }

  alive(): boolean {
    if (this.#fd === -1) return false;
    try {
      this.#probe();
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    if (this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    try {
      this.interface.close();
    } finally {
      this.#kernel.descriptor.close(fd);
    }
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
