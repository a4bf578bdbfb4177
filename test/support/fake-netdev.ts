import { constants } from 'node:fs';
import { IFF_RUNNING, IFF_UP } from '../../lib/abi/netdevice.js';
import type { NetdevSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import type { FakeInterface, FakeInterfaces } from './fake-interfaces.js';
import { namespaceAt } from './fake-namespace.js';
import type { Privileges } from './fake-privileges.js';
import type { Entry, Trace } from './fake-trace.js';

class ControlSocket extends OpenFile {
  readonly namespace: string;
  constructor(namespace: string) {
    super('control socket', constants.S_IFSOCK);
    this.namespace = namespace;
  }
}

/** Told of every interface of its namespace that is removed. */
class LinkSocket extends OpenFile {
  private readonly leave: () => void;

  constructor(interfaces: FakeInterfaces, namespace: string) {
    super('link socket', constants.S_IFSOCK);
    this.leave = interfaces.onRemoved(namespace, () => this.arrive(new Uint8Array(16)));
  }

  protected override released(): void {
    this.leave();
  }
}

/** The interfaces of a fake kernel by name, like dev_ioctl(). */
export class FakeNetdev implements NetdevSurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly interfaces: FakeInterfaces;
  private readonly privileges: Privileges;

  constructor(
    trace: Trace,
    descriptors: FakeDescriptors,
    interfaces: FakeInterfaces,
    privileges: Privileges,
  ) {
    this.trace = trace;
    this.descriptors = descriptors;
    this.interfaces = interfaces;
    this.privileges = privileges;
  }

  open(netns?: string): number {
    const entry = this.trace.enter('netdev.open', netns === undefined ? [] : [netns]);
    const namespace = namespaceAt(this.descriptors, netns);
    if (!this.interfaces.hasNamespace(namespace)) throw entry.refuse('ENOENT', namespace);
    return this.descriptors.install(new ControlSocket(namespace));
  }

  watch(netns?: string): number {
    const entry = this.trace.enter('netdev.watch', netns === undefined ? [] : [netns]);
    const namespace = namespaceAt(this.descriptors, netns);
    if (!this.interfaces.hasNamespace(namespace)) throw entry.refuse('ENOENT', namespace);
    return this.descriptors.install(new LinkSocket(this.interfaces, namespace));
  }

  getIndex(fd: number, name: string): number {
    return this.named(this.trace.enter('netdev.getIndex', [fd, name]), fd, name).index;
  }

  getName(fd: number, index: number): string {
    const entry = this.trace.enter('netdev.getName', [fd, index]);
    const found = this.interfaces.byIndex(index, this.socket(entry, fd).namespace);
    if (!found) throw entry.refuse('ENODEV');
    return found.name;
  }

  getFlags(fd: number, name: string): number {
    const { flags } = this.named(this.trace.enter('netdev.getFlags', [fd, name]), fd, name);
    // Carrier is not followed here: up is running.
    return flags & IFF_UP ? flags | IFF_RUNNING : flags;
  }

  setFlags(fd: number, name: string, flags: number): void {
    this.changed(this.trace.enter('netdev.setFlags', [fd, name, flags]), fd, name).flags =
      flags & ~IFF_RUNNING;
  }

  getMtu(fd: number, name: string): number {
    return this.named(this.trace.enter('netdev.getMtu', [fd, name]), fd, name).mtu;
  }

  setMtu(fd: number, name: string, mtu: number): void {
    const entry = this.trace.enter('netdev.setMtu', [fd, name, mtu]);
    const found = this.changed(entry, fd, name);
    const [least, most] = found.mtuRange;
    if (mtu < least || mtu > most) throw entry.refuse('EINVAL');
    found.mtu = mtu;
  }

  getHardwareAddress(fd: number, name: string): Uint8Array {
    return this.named(
      this.trace.enter('netdev.getHardwareAddress', [fd, name]),
      fd,
      name,
    ).hardwareAddress.slice();
  }

  setHardwareAddress(fd: number, name: string, address: Uint8Array): void {
    const entry = this.trace.enter('netdev.setHardwareAddress', [fd, name, address]);
    const found = this.changed(entry, fd, name);
    if (address.length !== 6) throw entry.refuse('EINVAL');
    // Like is_valid_ether_addr(): no group address, not all zeroes.
    if (address[0]! & 1 || address.every((byte) => byte === 0)) throw entry.refuse('EADDRNOTAVAIL');
    found.hardwareAddress = address.slice();
  }

  private socket(entry: Entry, fd: number): ControlSocket {
    return this.descriptors.file(entry, fd, ControlSocket, 'ENOTTY');
  }

  private named(entry: Entry, fd: number, name: string): FakeInterface {
    const found = this.interfaces.get(name, this.socket(entry, fd).namespace);
    if (!found) throw entry.refuse('ENODEV');
    return found;
  }

  private changed(entry: Entry, fd: number, name: string): FakeInterface {
    // Like dev_ioctl(): the capability first, the name after.
    this.socket(entry, fd);
    if (!this.privileges.netAdmin) throw entry.refuse('EPERM');
    return this.named(entry, fd, name);
  }
}
