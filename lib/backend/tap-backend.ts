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
  /** Attached to its interface (TUNSETIFF). */
  readonly fd: number;
  readonly interface: NetworkInterface;
  /** Whether it carries virtio-net headers (IFF_VNET_HDR). */
  readonly headed: boolean;
  /** What received frames may leave to this side; `undefined` leaves that as it is. */
  readonly offloads: boolean | readonly Offload[] | undefined;
}

/** What a tap and a macvtap have in common once they are attached: both answer to the requests of `<linux/if_tun.h>`. */
export function tapBackend({ headed, offloads, ...parts }: TapBackendParts): Backend {
  const { kernel, fd } = parts;
  if (headed) kernel.tun.setVnetHdrSz(fd, VIRTIO_NET_HDR_V1_SIZE);
  return new OpenBackend({
    ...parts,
    headerSize: headed ? VIRTIO_NET_HDR_V1_SIZE : 0,
    offloads: offloads === undefined ? [] : agreeOffloads(kernel, fd, offloads),
    linkState: tapLinkState(kernel),
    probe: () => kernel.tun.getIff(fd),
  });
}
