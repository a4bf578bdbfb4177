import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, MAX_TAP_QUEUES } from '../abi/if-tun.js';
import { checkBoolean, checkInteger, checkInterfaceName, checkOptions } from '../errors/check.js';
import { explain } from '../errors/hints.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, Offload } from './backend.js';
import {
  type InterfaceOptions,
  interfaceOptionNames,
  NetworkInterface,
  namespacePath,
} from './network-interface.js';
import { openWhole } from './open-backend.js';
import { tapBackend } from './tap-backend.js';

/** How a tap is opened: as what, and what is set on its interface. */
export interface TapOptions extends InterfaceOptions {
  /** Up to 15 bytes; "tap%d", the default, lets the kernel number it. A tap that does not exist is made. */
  readonly name?: string;
  /** What received frames may leave to this side: `true` for all that the kernel knows; none by default. */
  readonly offloads?: boolean | readonly Offload[];
  /**
   * The tap has several queues (IFF_MULTI_QUEUE), of which other descriptors may be opened elsewhere: by another Worker,
   * for one. Always where `queues` is more than 1.
   */
  readonly multiQueue?: boolean;
  /** Queues to open: 1, the default, up to 256. */
  readonly queues?: number;
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
  'queues',
  'persist',
  'owner',
  'group',
  'sendBuffer',
];

/**
 * Opens a tap, a network interface of the host whose cable ends in this process (`<linux/if_tun.h>`), and makes it
 * where it does not exist. ERR_VHOST_INVALID_ARGUMENT, ERR_VHOST_OUT_OF_RANGE: an option breaks its rule. Refusals of the
 * kernel bear `request`: EPERM of TUNSETIFF without CAP_NET_ADMIN, EBUSY where the tap is open, EINVAL where the interface is
 * none or was made with other flags; ENOENT, EACCES of /dev/net/tun or of the namespace.
 */
export function openTap(options: TapOptions = {}, kernel: Kernel = hostKernel()): Backend {
  checkOptions('tap', options, optionNames);
  const name = checkInterfaceName('tap.name', options.name ?? 'tap%d');
  const { persist, owner, group, sendBuffer, netns } = options;
  if (owner !== undefined) checkInteger('tap.owner', owner, 0, 2 ** 32 - 2);
  if (group !== undefined) checkInteger('tap.group', group, 0, 2 ** 32 - 2);
  if (sendBuffer !== undefined) checkInteger('tap.sendBuffer', sendBuffer, 1, 2 ** 31 - 1);
  const queues = checkInteger('tap.queues', options.queues ?? 1, 1, MAX_TAP_QUEUES);
  const multiQueue = checkBoolean('tap.multiQueue', options.multiQueue ?? false) || queues > 1;
  if (persist !== undefined) checkBoolean('tap.persist', persist);
  try {
    return openWhole(kernel, (keep) => {
      const { tun } = kernel;
      const flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multiQueue ? IFF_MULTI_QUEUE : 0);
      const open = (): number => keep.fd(tun.open('/dev/net/tun', namespacePath(netns)));
      const fd = open();
      const given = tun.setIff(fd, name, flags);
      if (owner !== undefined) tun.setOwner(fd, owner);
      if (group !== undefined) tun.setGroup(fd, group);
      if (persist !== undefined) tun.setPersist(fd, persist ? 1 : 0);
      if (sendBuffer !== undefined) tun.setSndBuf(fd, sendBuffer);
      const device = keep.interface(new NetworkInterface(kernel, given, netns));
      device.configure(options);
      const fds = [fd];
      while (fds.length < queues) {
        const another = open();
        tun.setIff(another, given, flags);
        fds.push(another);
      }
      return tapBackend({
        kernel,
        kind: 'tap',
        queues: fds,
        multiQueue,
        interface: device,
        headed: true,
        offloads: options.offloads ?? false,
      });
    });
  } catch (error) {
    throw explain(error);
  }
}
