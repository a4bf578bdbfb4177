import { constants } from 'node:fs';
import { IFF_ATTACH_QUEUE, IFF_MULTI_QUEUE, IFF_TAP, IFF_VNET_HDR, TUN_MINOR } from '../abi/if-tun.js';
import { MISC_MAJOR } from '../abi/major.js';
import { AF_PACKET, SOCK_RAW } from '../abi/socket.js';
import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkInteger, checkOptions, wrongValue } from '../errors/check.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend, BackendKind, Offload } from './backend.js';
import { NetworkInterface } from './network-interface.js';
import { type Keep, OpenBackend, openWhole } from './open-backend.js';
import { carryHeaders } from './packet-socket.js';
import { tapBackend } from './tap-backend.js';

/** Kinds of backend that a descriptor stands for. */
export type AdoptableKind = Extract<BackendKind, 'packet' | 'tap' | 'macvtap'>;

/** Which descriptors a backend is made of. */
export interface AdoptOptions {
  /** A descriptor that the caller opened, or one for each queue; they stay the caller's, the backend works on copies. */
  readonly fd: number | readonly number[];
  /** What it is; found out where not told. */
  readonly kind?: AdoptableKind;
  /** The network namespace of its interface; a tap, asked by one who may (CAP_NET_ADMIN there), tells it itself. */
  readonly netns?: string | undefined;
  /** What received frames may leave to this side, of a tap or macvtap; left as it is, and not told of, by default. */
  readonly offloads?: boolean | readonly Offload[];
}

type TunInterface = ReturnType<Kernel['tun']['getIff']>;

/** Makes a backend of descriptors that were recognised; `keep` notes what is opened on the way. */
type Adopt = (options: AdoptOptions, keep: Keep) => Backend;

/** How descriptors are recognised; throws the reason where they are of another kind. In the order of get_socket() in drivers/vhost/net.c. */
const kinds: Readonly<Record<AdoptableKind, (kernel: Kernel, fds: readonly number[]) => Adopt>> = {
  packet: recognisePacketSocket,
  tap: (kernel, fds) => {
    for (const fd of fds) expectCharacterDevice(kernel, fd, true);
    return recogniseTap('tap', kernel, fds);
  },
  macvtap: (kernel, fds) => {
    for (const fd of fds) expectCharacterDevice(kernel, fd, false);
    return recogniseTap('macvtap', kernel, fds);
  },
};
const kindNames = Object.keys(kinds) as AdoptableKind[];

/** Whether another process can make a backend of this kind of its descriptors. */
export function isAdoptable(kind: BackendKind): kind is AdoptableKind {
  return kind in kinds;
}

/**
 * Makes a backend of a descriptor. One whose kind is not told is tried as packet socket, tap and macvtap, and refused
 * with the reasons of all three, where the kernel itself would only say ENOTSOCK. ERR_VHOST_UNSUPPORTED: a packet socket
 * that carries headers, before Linux 6.4.
 */
export function adoptDescriptor(options: AdoptOptions, kernel: Kernel = hostKernel()): Backend {
  checkOptions('options', options, ['fd', 'kind', 'netns', 'offloads']);
  const { kind: told } = options;
  const several = Array.isArray(options.fd);
  const given = (several ? options.fd : [options.fd]) as readonly number[];
  if (given.length === 0) throw wrongValue('fd', 'a descriptor, or one for each queue', given);
  for (const [i, fd] of given.entries()) checkInteger(several ? `fd[${i}]` : 'fd', fd, 0, 2 ** 31 - 1);
  if (told !== undefined && !kindNames.includes(told))
    throw wrongValue('kind', `one of ${kindNames.join(', ')}`, told);
  return openWhole(kernel, (keep) => {
    const fds = given.map((fd) => keep.fd(kernel.descriptor.duplicate(fd)));
    const reasons: string[] = [];
    for (const kind of told === undefined ? kindNames : [told]) {
      let adopt: Adopt;
      try {
        adopt = kinds[kind](kernel, fds);
      } catch (error) {
        reasons.push(`not a ${kind}: ${(error as Error).message}`);
        continue;
      }
      // It is of this kind: what fails now says why itself.
      return adopt(options, keep);
    }
    throw wrongValue('fd', `a packet socket, a tap or a macvtap (${reasons.join('; ')})`, options.fd);
  });
}

function recognisePacketSocket(kernel: Kernel, fds: readonly number[]): Adopt {
  const [fd, another] = fds as [number, number?];
  if (another !== undefined) throw new Error('a packet socket has one queue');
  const { domain, type, interfaceIndex } = kernel.packet.describe(fd);
  if (domain !== AF_PACKET || type !== SOCK_RAW)
    throw new Error(`a socket of domain ${domain} and type ${type}, not AF_PACKET and SOCK_RAW`);
  if (interfaceIndex <= 0) throw new Error('a packet socket that is bound to no interface');
  return ({ netns }, keep) => {
    const headed = kernel.packet.getVnetHdrSz(fd) > 0;
    if (headed) carryHeaders(kernel, fd);
    const device = keep.interface(NetworkInterface.ofIndex(kernel, interfaceIndex, netns));
    return new OpenBackend({
      kernel,
      kind: 'packet',
      queues: [fd],
      interface: device,
      headerSize: headed ? VIRTIO_NET_HDR_V1_SIZE : 0,
      offloads: [],
      linkState: 'sync',
      probe: () => device.nameOf(interfaceIndex),
    });
  };
}

function recogniseTap(kind: 'tap' | 'macvtap', kernel: Kernel, fds: readonly number[]): Adopt {
  const [{ name, flags }, ...others] = fds.map((fd) => kernel.tun.getIff(fd)) as [
    TunInterface,
    ...TunInterface[],
  ];
  for (const other of others)
    if (other.name !== name) throw new Error(`queues of two interfaces, ${name} and ${other.name}`);
  if ((flags & IFF_TAP) === 0) throw new Error('a tun, whose frames have no Ethernet header');
  return ({ netns, offloads }, keep) => {
    if (others.length > 0) for (const fd of fds) takePart(kernel, fd);
    const device = keep.interface(
      kind === 'tap' && netns === undefined
        ? NetworkInterface.ofTap(kernel, fds[0]!, name)
        : new NetworkInterface(kernel, name, netns),
    );
    const headed = (flags & IFF_VNET_HDR) !== 0;
    const multiQueue = (flags & IFF_MULTI_QUEUE) !== 0;
    return tapBackend({
      kernel,
      kind,
      queues: fds,
      multiQueue,
      interface: device,
      headed,
      offloads,
    });
  };
}

/** Whoever had the queue before may have left it out (TUNSETQUEUE); EINVAL says that it takes part already. */
function takePart(kernel: Kernel, fd: number): void {
  try {
    kernel.tun.setQueue(fd, IFF_ATTACH_QUEUE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
  }
}

/** A tap is the character device of /dev/net/tun, a macvtap one with a number of its own. */
function expectCharacterDevice(kernel: Kernel, fd: number, ofTun: boolean): void {
  const { type, major, minor } = kernel.descriptor.stat(fd);
  if (type !== constants.S_IFCHR) throw new Error('not a character device');
  if ((major === MISC_MAJOR && minor === TUN_MINOR) !== ofTun)
    throw new Error(`the character device ${major}:${minor}`);
}
