import { ETH_ALEN, ETH_MAX_MTU, ETH_MIN_MTU } from '../abi/if-ether.js';
import { IFF_UP } from '../abi/netdevice.js';
import { checkBoolean, checkInteger, wrongType, wrongValue } from '../errors/check.js';
import { explain } from '../errors/hints.js';
import { undo } from '../errors/undo.js';
import type { Kernel } from '../kernel/kernel.js';
import type { BackendInterface, InterfaceWatch } from './backend.js';

/** What can be said of any network interface when a backend is opened on it. */
export interface InterfaceOptions {
  /** Bytes of the longest payload, without the Ethernet header; left as it is by default. */
  readonly mtu?: number;
  /** Address of the host's end, "02:00:00:00:00:01"; left as it is by default. */
  readonly mac?: string;
  /** Bring the interface up (the default), or leave it as it is. */
  readonly up?: boolean;
  /** The network namespace: a name (of `ip netns`) or a path such as /proc/1/ns/net. */
  readonly netns?: string;
}

/** The names of `InterfaceOptions`. */
export const interfaceOptionNames = ['mtu', 'mac', 'up', 'netns'] as const;

/** The path of a network namespace that was named as `ip netns` does. */
export function namespacePath(netns: string | undefined): string | undefined {
  if (netns === undefined) return undefined;
  if (typeof netns !== 'string') throw wrongType('netns', 'a name or a path', netns);
  if (netns.includes('/')) return netns;
  return `/run/netns/${netns}`;
}

/** "02:00:00:00:00:01" as six bytes. */
export function parseMac(argument: string, mac: unknown): Uint8Array {
  if (typeof mac !== 'string') throw wrongType(argument, 'a string', mac);
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac))
    throw wrongValue(argument, 'six bytes in hexadecimal, joined by colons', mac);
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** Six bytes as "02:00:00:00:00:01". */
export function formatMac(address: Uint8Array): string {
  return Array.from(address.subarray(0, ETH_ALEN), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** A network interface of the host, by name, in a namespace: netdevice(7). */
export class NetworkInterface implements BackendInterface {
  readonly name: string;
  readonly #kernel: Kernel;
  readonly netns: string | undefined;
  /** Keeps a namespace that nobody named within reach; -1 where none is kept. */
  readonly #namespaceFd: number;
  #fd: number;

  /** `namespaceFd`: a descriptor of its namespace, in place of `netns`; closed with the interface. */
  constructor(kernel: Kernel, name: string, netns?: string, namespaceFd = -1) {
    this.#kernel = kernel;
    this.name = name;
    this.netns = namespacePath(netns);
    this.#namespaceFd = namespaceFd;
    this.#fd = kernel.netdev.open(this.#path);
  }

  /** The interface that has an index in a namespace. */
  static ofIndex(kernel: Kernel, index: number, netns?: string): NetworkInterface {
    const unnamed = new NetworkInterface(kernel, '', netns);
    try {
      return new NetworkInterface(kernel, unnamed.nameOf(index), netns);
    } finally {
      unnamed.close();
    }
  }

  /** The interface of a tap, in whichever namespace it is. */
  static ofTap(kernel: Kernel, fd: number, name: string): NetworkInterface {
    const namespaceFd = foreignNamespace(kernel, fd);
    try {
      return new NetworkInterface(kernel, name, undefined, namespaceFd);
    } catch (error) {
      if (namespaceFd !== -1) undo(() => kernel.descriptor.close(namespaceFd));
      throw error;
    }
  }

  get index(): number {
    return this.#kernel.netdev.getIndex(this.#fd, this.name);
  }

  get mtu(): number {
    return this.#kernel.netdev.getMtu(this.#fd, this.name);
  }

  get mac(): string {
    return formatMac(this.#kernel.netdev.getHardwareAddress(this.#fd, this.name));
  }

  get up(): boolean {
    return (this.#kernel.netdev.getFlags(this.#fd, this.name) & IFF_UP) !== 0;
  }

  /** The name that an interface has now, by index; throws ENODEV where it is gone. */
  nameOf(index: number): string {
    return this.#kernel.netdev.getName(this.#fd, index);
  }

  /** Applies options, the address before the interface comes up; changes nothing that is as asked for. */
  configure({ mtu, mac, up = true }: InterfaceOptions): void {
    const { netdev } = this.#kernel;
    checkBoolean('up', up);
    if (mtu !== undefined) checkInteger('mtu', mtu, ETH_MIN_MTU, ETH_MAX_MTU);
    const address = mac === undefined ? undefined : parseMac('mac', mac);
    try {
      if (mtu !== undefined && mtu !== this.mtu) netdev.setMtu(this.#fd, this.name, mtu);
      if (address !== undefined && formatMac(address) !== this.mac)
        netdev.setHardwareAddress(this.#fd, this.name, address);
      const flags = netdev.getFlags(this.#fd, this.name);
      if (up && (flags & IFF_UP) === 0) netdev.setFlags(this.#fd, this.name, flags | IFF_UP);
    } catch (error) {
      throw explain(error);
    }
  }

  /** Calls back when an interface of the same namespace was made, changed or removed. It holds no loop. */
  watch(changed: () => void): InterfaceWatch {
    const { netdev, poller, descriptor } = this.#kernel;
    const fd = netdev.watch(this.#path);
    const message = new Uint8Array(64);
    try {
      const watching = poller.watchReadable(fd, () => {
        try {
          descriptor.read(fd, message);
        } catch {
          // What the message said is asked of the interface itself; it only must not be said again.
        }
        changed();
      });
      watching.unref();
      return {
        close: () => {
          watching.close();
          descriptor.close(fd);
        },
      };
    } catch (error) {
      undo(() => descriptor.close(fd));
      throw error;
    }
  }

  close(): void {
    if (this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    const { descriptor } = this.#kernel;
    if (this.#namespaceFd !== -1) descriptor.close(this.#namespaceFd);
    descriptor.close(fd);
  }

  get #path(): string | undefined {
    return this.#namespaceFd === -1 ? this.netns : descriptorPath(this.#namespaceFd);
  }
}

function descriptorPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/**
 * A descriptor of the namespace that a tap is in, -1 where it is this thread's; that one is not entered, for which other
 * privileges would be needed. Whoever may not ask (EPERM) has a tap that was made for it here.
 */
function foreignNamespace({ tun, files, descriptor }: Kernel, tap: number): number {
  let fd: number;
  try {
    fd = tun.getDevNetns(tap);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return -1;
    throw error;
  }
  if (files.link(descriptorPath(fd)) !== files.link('/proc/thread-self/ns/net')) return fd;
  descriptor.close(fd);
  return -1;
}
