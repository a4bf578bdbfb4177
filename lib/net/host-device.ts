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
 * Devices on the queues of a backend, one for each pair, lent to one front-end at a time. All of them are the caller's to
 * close, and stay open between two front-ends, so that nothing has to be opened that the process may no longer open.
 */
export class HostDevice {
  readonly #kernel: Kernel;
  readonly #vhosts: readonly LastingVhost[];
  readonly #backend: Backend;
  /** Feature bits of the backend's offloads; `undefined` where its frames have no virtio-net header. */
  readonly #offloads: bigint | undefined;
  /** Of several pairs: the queues that run, by pair. */
  readonly #running: readonly Set<number>[];
  #lent = false;

  /** The backend is a tap, a macvtap or a program, with a queue for each device. */
  constructor(kernel: Kernel, vhosts: readonly LastingVhost[], backend: Backend) {
    if (!['tap', 'macvtap', 'program'].includes(backend.kind))
      throw wrongValue('backend', 'a tap, a macvtap or a program', backend.kind);
    if (vhosts.length !== backend.queues.length)
      throw wrongValue(
        'vhosts',
        `a device for each of the backend's ${backend.queues.length} queues`,
        vhosts,
      );
    this.#kernel = kernel;
    this.#vhosts = vhosts;
    this.#backend = backend;
    if (backend.kind !== 'program') this.#offloads = offloadFeatures(agreeOffloads(kernel, backend.fd, true));
    this.#running = vhosts.map(() => new Set());
    // What comes to a queue that nobody serves is lost: a queue is in only while its pair runs.
    if (vhosts.length > 1) for (const pair of vhosts.keys()) backend.switchQueue(pair, false);
  }

  /** The device for a connection. ERR_VHOST_IN_USE: another has it. */
  lend(): VhostUserDevice {
    if (this.#lent) throw new VhostError('ERR_VHOST_IN_USE', 'another front-end is connected');
    this.#lent = true;
    const { queues } = this.#backend;
    return {
      pairs: this.#vhosts.map((vhost, pair) => ({
        vhost,
        backendFd: queues[pair]!,
        ...(queues.length > 1 && { serve: (queue: number, on: boolean) => this.#serve(pair, queue, on) }),
      })),
      backendFeatures: OFFERED | (this.#offloads ?? 0n),
      ...(this.#offloads !== undefined && {
        agree: (features: bigint) => {
          for (const fd of queues) this.#kernel.tun.setVnetHdrSz(fd, headerSizeFor(features));
          agreeOffloads(this.#kernel, queues[0]!, agreedOffloads(features));
        },
      }),
      // The interface keeps its own MTU, which the process may no longer change.
      setMtu: (told) => {
        const { mtu, name } = this.#backend.interface;
        if (told > mtu) throw wrongValue('mtu', `at most ${mtu}, that of ${name}`, told);
      },
      close: () => this.#return(),
    };
  }

  /** Takes a pair's queue of the backend in with the first of its queues that runs, and out with the last. */
  #serve(pair: number, queue: number, on: boolean): void {
    const running = this.#running[pair]!;
    const before = running.size;
    if (on) running.add(queue);
    else running.delete(queue);
    if ((before === 0) !== (running.size === 0)) this.#backend.switchQueue(pair, on);
  }

  async #return(): Promise<void> {
    try {
      for (const vhost of this.#vhosts)
        try {
          await vhost.resetOwner();
        } catch (error) {
          // It was never owned.
          if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
        }
      for (const [pair, running] of this.#running.entries())
        for (const queue of [...running]) this.#serve(pair, queue, false);
    } finally {
      this.#lent = false;
    }
  }
}
