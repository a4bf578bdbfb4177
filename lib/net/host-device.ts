import type { Backend } from '../backend/backend.js';
import { agreeOffloads } from '../backend/offloads.js';
import { wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel } from '../kernel/kernel.js';
import type { KernelVhost } from '../vhost/kernel-vhost.js';
import type { VhostUserDevice } from '../vhost/user/device.js';
import { agreedOffloads, headerSizeFor, offloadFeatures } from './backend-features.js';

/**
 * The kernel's vhost-net on a tap or macvtap, lent to one front-end at a time. Both stay open between two of them, so
 * that nothing has to be opened that the process may no longer open.
 */
export class HostDevice {
  readonly #kernel: Kernel;
  readonly #vhost: KernelVhost;
  readonly #backend: Backend;
  readonly #offered: bigint;
  #lent = false;

  /** Takes over the device and the backend. */
  constructor(kernel: Kernel, vhost: KernelVhost, backend: Backend) {
    if (backend.kind !== 'tap' && backend.kind !== 'macvtap')
      throw wrongValue('backend', 'a tap or a macvtap', backend.kind);
    this.#kernel = kernel;
    this.#vhost = vhost;
    this.#backend = backend;
    this.#offered = offloadFeatures(agreeOffloads(kernel, backend.fd, true));
  }

  /** The device for a connection. ERR_VHOST_IN_USE: another has it. */
  lend(): VhostUserDevice {
    if (this.#lent) throw new VhostError('ERR_VHOST_IN_USE', 'another front-end is connected');
    this.#lent = true;
    const { fd } = this.#backend;
    return {
      pairs: [{ vhost: this.#vhost, backendFd: fd }],
      backendFeatures: this.#offered,
      agree: (features) => {
        this.#kernel.tun.setVnetHdrSz(fd, headerSizeFor(features));
        agreeOffloads(this.#kernel, fd, agreedOffloads(features));
      },
      close: () => {
        try {
          this.#vhost.resetOwner();
        } catch (error) {
          // It was never owned.
          if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
        } finally {
          this.#lent = false;
        }
      },
    };
  }

  close(): void {
    try {
      this.#vhost.close();
    } finally {
      this.#backend.close();
    }
  }
}
