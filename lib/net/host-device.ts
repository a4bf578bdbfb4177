import { bit } from '../abi/bit.js';
import { VIRTIO_NET_F_GUEST_ANNOUNCE } from '../abi/virtio-net.js';
import type { Backend } from '../backend/backend.js';
import { agreeOffloads } from '../backend/offloads.js';
import { wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel } from '../kernel/kernel.js';
import type { VhostUserDevice } from '../vhost/user/device.js';
import type { Awaitable, Vhost } from '../vhost/vhost.js';
import { agreedOffloads, headerSizeFor, offloadFeatures } from './backend-features.js';

/**
 * What takes nothing of a backend. Of a guest that moved here, its front-end knows; where it may, it has the guest itself
 * tell the network (VIRTIO 1.3 §5.1.6.5.4 Gratuitous Packet Sending).
 */
const OFFERED = bit(VIRTIO_NET_F_GUEST_ANNOUNCE);

/** A device that can be as new again. */
interface LastingVhost extends Vhost {
  resetOwner(): Awaitable<void>;
}

/**
 * A device on a backend, lent to one front-end at a time. Both are the caller's to close, and stay open between two
 * front-ends, so that nothing has to be opened that the process may no longer open.
 */
export class HostDevice {
  readonly #kernel: Kernel;
  readonly #vhost: LastingVhost;
  readonly #backend: Backend;
  /** Feature bits of the backend's offloads; `undefined` where its frames have no virtio-net header. */
  readonly #offloads: bigint | undefined;
  #lent = false;

  /** The backend is a tap, a macvtap or a program. */
  constructor(kernel: Kernel, vhost: LastingVhost, backend: Backend) {
    if (!['tap', 'macvtap', 'program'].includes(backend.kind))
      throw wrongValue('backend', 'a tap, a macvtap or a program', backend.kind);
    this.#kernel = kernel;
    this.#vhost = vhost;
    this.#backend = backend;
    if (backend.kind !== 'program') this.#offloads = offloadFeatures(agreeOffloads(kernel, backend.fd, true));
  }

  /** The device for a connection. ERR_VHOST_IN_USE: another has it. */
  lend(): VhostUserDevice {
    if (this.#lent) throw new VhostError('ERR_VHOST_IN_USE', 'another front-end is connected');
    this.#lent = true;
    const { fd } = this.#backend;
    return {
      pairs: [{ vhost: this.#vhost, backendFd: fd }],
      backendFeatures: OFFERED | (this.#offloads ?? 0n),
      ...(this.#offloads !== undefined && {
        agree: (features: bigint) => {
          this.#kernel.tun.setVnetHdrSz(fd, headerSizeFor(features));
          agreeOffloads(this.#kernel, fd, agreedOffloads(features));
        },
      }),
      close: async () => {
        try {
          await this.#vhost.resetOwner();
        } catch (error) {
          // It was never owned.
          if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
        } finally {
          this.#lent = false;
        }
      },
    };
  }
}
