import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, MAX_TAP_QUEUES } from '../abi/if-tun.js';
import { checkInteger, checkInterfaceName, checkOptions } from '../errors/check.js';
import { explain } from '../errors/hints.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, Offload } from './backend.js';
import { type InterfaceOptions, interfaceOptionNames, NetworkInterface } from './network-interface.js';
import { openWhole } from './open-backend.js';
import { tapBackend } from './tap-backend.js';

/** Which macvtap is opened, and what is set on its interface. */
export interface MacvtapOptions extends InterfaceOptions {
  /** A macvtap interface that exists (`ip link add link LOWER name NAME type macvtap mode bridge`). */
  readonly name: string;
  /** What received frames may leave to this side: `true` for all that the kernel knows; none by default. */
  readonly offloads?: boolean | readonly Offload[];
  /** Queues to open: 1, the default, up to 256. */
  readonly queues?: number;
  /** Its device node; /dev/tapN, where N is the index of the interface, by default. */
  readonly path?: string;
}

const optionNames = [...interfaceOptionNames, 'name', 'offloads', 'queues', 'path'];

/**
 * Opens a macvtap: a second station on another interface, with an address of its own (drivers/net/tap.c). Frames to
 * send bear the address of the macvtap as their source, or the other stations cannot answer.
 */
export function openMacvtap(options: MacvtapOptions, kernel: Kernel = hostKernel()): Backend {
  checkOptions('macvtap', options, optionNames);
  const name = checkInterfaceName('macvtap.name', options.name);
  const queues = checkInteger('macvtap.queues', options.queues ?? 1, 1, MAX_TAP_QUEUES);
  try {
    return openWhole(kernel, (keep) => {
      const { tun } = kernel;
      const device = keep.interface(new NetworkInterface(kernel, name, options.netns));
      const path = options.path ?? `/dev/tap${device.index}`;
      const fds: number[] = [];
      while (fds.length < queues) {
        const fd = keep.fd(tun.open(path));
        // Each descriptor of a macvtap is a queue of its own, so multi-queue costs nothing.
        tun.setIff(fd, name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
        fds.push(fd);
      }
      device.configure(options);
      return tapBackend({
        kernel,
        kind: 'macvtap',
        queues: fds,
        multiQueue: true,
        interface: device,
        headed: true,
        offloads: options.offloads ?? false,
      });
    });
  } catch (error) {
    throw explain(error);
  }
}
