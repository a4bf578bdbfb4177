import { IFF_ATTACH_QUEUE, IFF_DETACH_QUEUE } from '../abi/if-tun.js';
import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, Offload } from './backend.js';
import { tapLinkState } from './link-state.js';
import type { NetworkInterface } from './network-interface.js';
import { agreeOffloads } from './offloads.js';
import { OpenBackend } from './open-backend.js';

export interface TapBackendParts {
  readonly kernel: Kernel;
  readonly kind: 'tap' | 'macvtap';
  /** A descriptor for each queue, attached to its interface (TUNSETIFF). */
  readonly queues: readonly number[];
  /** Whether the interface has several queues (IFF_MULTI_QUEUE). */
  readonly multiQueue: boolean;
  readonly interface: NetworkInterface;
  /** Whether it carries virtio-net headers (IFF_VNET_HDR). */
  readonly headed: boolean;
  /** What received frames may leave to this side; `undefined` leaves that as it is. */
  readonly offloads: boolean | readonly Offload[] | undefined;
}

/** What a tap and a macvtap have in common once they are attached: both answer to the requests of `<linux/if_tun.h>`. */
export function tapBackend({ headed, multiQueue, offloads, ...parts }: TapBackendParts): Backend {
  const { kernel, queues } = parts;
  // A macvtap has a header size for each queue; its offloads, and all that a tap has, are of the interface.
  if (headed) for (const fd of queues) kernel.tun.setVnetHdrSz(fd, VIRTIO_NET_HDR_V1_SIZE);
  const first = queues[0]!;
  return new OpenBackend({
    ...parts,
    headerSize: headed ? VIRTIO_NET_HDR_V1_SIZE : 0,
    offloads: offloads === undefined ? [] : agreeOffloads(kernel, first, offloads),
    ...(headed && { agree: (wanted) => agreeOffloads(kernel, first, wanted) }),
    linkState: tapLinkState(kernel),
    probe: () => kernel.tun.getIff(first),
    ...(multiQueue && {
      switchQueue: (fd, on) => kernel.tun.setQueue(fd, on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE),
    }),
  });
}
