import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '../abi/if-tun.js';
import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkInteger, checkInterfaceName, checkOptions } from '../errors/check.js';
import { explain } from '../errors/hints.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, LinkState, Offload } from './backend.js';
import { tapLinkState } from './link-state.js';
import {
  type InterfaceOptions,
  interfaceOptionNames,
  NetworkInterface,
  namespacePath,
} from './network-interface.js';
import { agreeOffloads } from './offloads.js';

export interface TapOptions extends InterfaceOptions {
  /** Up to 15 bytes; "tap%d", the default, lets the kernel number it. A tap that does not exist is made. */
  readonly name?: string;
  /** What received frames may leave to this side: `true` for all that the kernel knows; none by default. */
  readonly offloads?: boolean | readonly Offload[];
  /** One of several queues of the same tap (IFF_MULTI_QUEUE). */
  readonly multiQueue?: boolean;
  /** The interface outlives this descriptor (TUNSETPERSIST). */
  readonly persist?: boolean;
  /** User who may open the tap later (TUNSETOWNER). */
  readonly owner?: number;
  /** Group who may open the tap later (TUNSETGROUP). */
  readonly group?: number;
  /** Bytes that may wait to be sent (TUNSETSNDBUF). */
  readonly sendBuffer?: number;
}

const optionNames = [
  ...interfaceOptionNames,
  'name',
  'offloads',
  'multiQueue',
  'persist',
  'owner',
  'group',
  'sendBuffer',
];

/** A tap: a network interface of the host whose cable ends in this process (`<linux/if_tun.h>`). */
export class Tap implements Backend {
  readonly kind = 'tap';
  readonly interface: NetworkInterface;
  readonly headerSize: number;
  readonly offloads: readonly Offload[];
  readonly linkState: LinkState;
  readonly #kernel: Kernel;
  #fd: number;

  private constructor(kernel: Kernel, fd: number, device: NetworkInterface, offloads: readonly Offload[]) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.interface = device;
    this.offloads = offloads;
    this.headerSize = VIRTIO_NET_HDR_V1_SIZE;
    this.linkState = tapLinkState(kernel);
  }

  /** Opens a tap, making it where it does not exist. */
  static open(options: TapOptions = {}, kernel: Kernel = hostKernel()): Tap {
    checkOptions('tap', options, optionNames);
    const name = checkInterfaceName('tap.name', options.name ?? 'tap%d');
    let fd = -1;
    let device: NetworkInterface | undefined;
    try {
      fd = kernel.tun.open('/dev/net/tun', namespacePath(options.netns));
      const flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (options.multiQueue ? IFF_MULTI_QUEUE : 0);
      const given = kernel.tun.setIff(fd, name, flags);
      kernel.tun.setVnetHdrSz(fd, VIRTIO_NET_HDR_V1_SIZE);
      const offloads = agreeOffloads(kernel, fd, options.offloads ?? false);
      const { persist, owner, group, sendBuffer } = options;
      if (owner !== undefined) kernel.tun.setOwner(fd, checkInteger('tap.owner', owner, 0, 2 ** 32 - 2));
      if (group !== undefined) kernel.tun.setGroup(fd, checkInteger('tap.group', group, 0, 2 ** 32 - 2));
      if (persist !== undefined) kernel.tun.setPersist(fd, persist ? 1 : 0);
      if (sendBuffer !== undefined)
        kernel.tun.setSndBuf(fd, checkInteger('tap.sendBuffer', sendBuffer, 1, 2 ** 31 - 1));
      device = new NetworkInterface(kernel, given, options.netns);
      device.configure(options);
      return new Tap(kernel, fd, device, offloads);
    } catch (error) {
      device?.close();
      if (fd !== -1) kernel.descriptor.close(fd);
      throw explain(error);
    }
  }

  get fd(): number {
    return this.#fd;
  }

  alive(): boolean {
    try {
      this.#kernel.tun.getIff(this.#fd);
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    if (this.#fd === -1) return;
    this.interface.close();
    this.#kernel.descriptor.close(this.#fd);
    this.#fd = -1;
  }
}
