import { ETH_P_ALL } from '../abi/if-ether.js';
import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkBoolean, checkInterfaceName, checkOptions } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { explain } from '../errors/hints.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend } from './backend.js';
import {
  type InterfaceOptions,
  interfaceOptionNames,
  NetworkInterface,
  namespacePath,
} from './network-interface.js';
import { OpenBackend, openWhole } from './open-backend.js';

/** On which interface's wire a packet socket is opened, and how. */
export interface PacketSocketOptions extends InterfaceOptions {
  /** The interface on whose wire the frames go; it exists. */
  readonly name: string;
  /** Take frames for every address (the default), or only those for the interface's own. */
  readonly promiscuous?: boolean;
  /** Hide the frames that the host itself sends on the interface (the default). */
  readonly ignoreOutgoing?: boolean;
  /** Send past the queueing discipline of the interface (PACKET_QDISC_BYPASS). */
  readonly bypassQdisc?: boolean;
  /**
   * Carry virtio-net headers with frames (PACKET_VNET_HDR_SZ), so that checksums and segments can be left to the
   * interface and come from it; without, vhost supplies empty headers. ERR_VHOST_UNSUPPORTED before Linux 6.4.
   */
  readonly offloads?: boolean;
}

const optionNames = [
  ...interfaceOptionNames,
  'name',
  'promiscuous',
  'ignoreOutgoing',
  'bypassQdisc',
  'offloads',
];

/** Opens a packet socket (packet(7)): frames go to and come from the wire of an interface that exists. */
export function openPacketSocket(options: PacketSocketOptions, kernel: Kernel = hostKernel()): Backend {
  checkOptions('packet', options, optionNames);
  const name = checkInterfaceName('packet.name', options.name);
  for (const flag of ['promiscuous', 'ignoreOutgoing', 'bypassQdisc', 'offloads'] as const)
    if (options[flag] !== undefined) checkBoolean(`packet.${flag}`, options[flag]);
  const headerSize = options.offloads ? VIRTIO_NET_HDR_V1_SIZE : 0;
  try {
    return openWhole(kernel, (keep) => {
      const { packet } = kernel;
      const device = keep.interface(new NetworkInterface(kernel, name, options.netns));
      device.configure(options);
      const { index } = device;
      const fd = keep.fd(packet.open(namespacePath(options.netns)));
      if (headerSize > 0) carryHeaders(kernel, fd);
      if (options.bypassQdisc) packet.setQdiscBypass(fd, 1);
      if (options.ignoreOutgoing ?? true) packet.setIgnoreOutgoing(fd, 1);
      if (options.promiscuous ?? true) packet.addPromiscuous(fd, index);
      packet.bind(fd, index, ETH_P_ALL);
      return new OpenBackend({
        kernel,
        kind: 'packet',
        queues: [fd],
        interface: device,
        headerSize,
        offloads: options.offloads ? ['csum', 'tso4', 'tso6', 'ecn'] : [],
        // vhost sends without copying only where a socket bears SOCK_ZEROCOPY, which packet sockets never do.
        linkState: 'sync',
        probe: () => device.nameOf(index),
      });
    });
  } catch (error) {
    throw explain(error);
  }
}

/** Has a packet socket carry the headers of VIRTIO_F_VERSION_1; PACKET_VNET_HDR alone gives it those of 10 bytes. */
export function carryHeaders({ packet }: Kernel, fd: number): void {
  try {
    packet.setVnetHdrSz(fd, VIRTIO_NET_HDR_V1_SIZE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOPROTOOPT') throw error;
    throw new VhostError(
      'ERR_VHOST_UNSUPPORTED',
      `this kernel's packet sockets carry no headers of ${VIRTIO_NET_HDR_V1_SIZE} bytes: Linux 6.4 and later have PACKET_VNET_HDR_SZ`,
      { cause: error, request: 'PACKET_VNET_HDR_SZ' },
    );
  }
}
