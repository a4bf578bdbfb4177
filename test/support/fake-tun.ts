import {
  IFF_ATTACH_QUEUE,
  IFF_DETACH_QUEUE,
  IFF_MULTI_QUEUE,
  IFF_NAPI,
  IFF_NAPI_FRAGS,
  IFF_NO_CARRIER,
  IFF_NO_PI,
  IFF_ONE_QUEUE,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  TUN_F_CSUM,
  TUN_F_TSO_ECN,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_UFO,
  TUN_F_USO4,
  TUN_F_USO6,
  TUN_MINOR,
} from '../../lib/abi/if-tun.js';
import { VIRTIO_NET_HDR_SIZE } from '../../lib/abi/virtio-net.js';
import type { TunSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { type FakeInterfaces, ownNamespace } from './fake-interfaces.js';
import { NamespaceFile } from './fake-namespace.js';
import type { Privileges } from './fake-privileges.js';
import { TapFile, type TapState } from './fake-tap-file.js';
import type { Entry, Trace } from './fake-trace.js';

const tunFeatures = IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NAPI | IFF_NAPI_FRAGS;
const macvtapFeatures = IFF_VNET_HDR | IFF_MULTI_QUEUE;
const maxQueues = 256;
const callersTap = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

/** TUN/TAP and macvtap of a fake kernel, like drivers/net/tun.c and drivers/net/tap.c. */
export class FakeTun implements TunSurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly interfaces: FakeInterfaces;
  private readonly privileges: Privileges;
  /** TUN_F_* bits that this kernel knows; clear the USO bits for one before 6.2. */
  knownOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO | TUN_F_USO4 | TUN_F_USO6;
  private readonly states = new Map<number, TapState>();
  private readonly macvtaps = new Map<string, TapState>();

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

  /** Makes a macvtap interface; its device node, /dev/tapN, is what it returns. */
  addMacvtap(name: string): string {
    const added = this.interfaces.add('macvtap', name);
    const path = `/dev/tap${added.index}`;
    this.macvtaps.set(path, this.newState(added.name, ownNamespace, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR));
    return path;
  }

  /** What is set on a TUN/TAP interface, for tests to assert. */
  state(name: string, namespace = ownNamespace): TapState | undefined {
    const found = this.interfaces.get(name, namespace);
    return found && this.states.get(found.index);
  }

  /** A descriptor of a new tap interface that belongs to the caller of the package. */
  foreign(namespace = ownNamespace): number {
    const file = new TapFile(this.interfaces, namespace, 'tun', TUN_MINOR);
    file.attach(this.create(file.namespace, this.interfaces.freeName('tap%d', namespace), callersTap));
    return this.descriptors.install(file, false);
  }

  open(path: string, netns?: string): number {
    const entry = this.trace.enter('tun.open', netns === undefined ? [path] : [path, netns]);
    const namespace = netns ?? ownNamespace;
    if (!this.interfaces.hasNamespace(namespace)) throw entry.refuse('ENOENT', namespace);
    if (path === '/dev/net/tun')
      return this.descriptors.install(new TapFile(this.interfaces, namespace, 'tun', TUN_MINOR));
    const state = this.macvtaps.get(path);
    if (!state) throw entry.refuse('ENOENT');
    if (!this.interfaces.get(state.interface.name)) throw entry.refuse('ENODEV');
    const file = new TapFile(this.interfaces, namespace, 'macvtap', state.interface.index);
    file.attach(state);
    return this.descriptors.install(file);
  }

  getFeatures(fd: number): number {
    const file = this.file(this.trace.enter('tun.getFeatures', [fd]), fd);
    return file.kind === 'macvtap'
      ? IFF_TAP | IFF_NO_PI | macvtapFeatures
      : IFF_TUN | IFF_TAP | IFF_NO_CARRIER | tunFeatures;
  }

  setIff(fd: number, name: string, flags: number): string {
    const entry = this.trace.enter('tun.setIff', [fd, name, flags]);
    const file = this.file(entry, fd);
    if (file.kind === 'macvtap') {
      if ((flags & ~macvtapFeatures) !== (IFF_TAP | IFF_NO_PI)) throw entry.refuse('EINVAL');
      return this.attached(entry, file).interface.name;
    }
    if (file.state) throw entry.refuse('EEXIST');
    if (Buffer.byteLength(name) > 15) throw entry.refuse('EINVAL');
    const existing = name === '' ? undefined : this.interfaces.get(name, file.namespace);
    file.attach(existing ? this.join(entry, existing.index, flags) : this.make(entry, file, name, flags));
    return file.state!.interface.name;
  }

  getIff(fd: number): { name: string; flags: number } {
    const entry = this.trace.enter('tun.getIff', [fd]);
    const state = this.attached(entry, this.file(entry, fd));
    const flags = state.flags | (state.persistent ? IFF_PERSIST : 0);
    return { name: state.interface.name, flags };
  }

  setOffload(fd: number, offload: number): void {
    const entry = this.trace.enter('tun.setOffload', [fd, offload]);
    const state = this.attached(entry, this.file(entry, fd));
    // Like set_offload(): what remains after each group was taken away is refused.
    let rest = offload;
    if (rest & TUN_F_CSUM) {
      rest &= ~TUN_F_CSUM;
      if (rest & (TUN_F_TSO4 | TUN_F_TSO6)) rest &= ~(TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN);
      rest &= ~TUN_F_UFO;
      const uso = TUN_F_USO4 | TUN_F_USO6;
      if ((rest & uso) === uso) rest &= ~uso;
    }
    if (rest !== 0 || (offload & ~this.knownOffloads) !== 0) throw entry.refuse('EINVAL');
    state.offload = offload;
  }

  setVnetHdrSz(fd: number, bytes: number): void {
    const entry = this.trace.enter('tun.setVnetHdrSz', [fd, bytes]);
    const state = this.attached(entry, this.file(entry, fd));
    if (bytes < VIRTIO_NET_HDR_SIZE) throw entry.refuse('EINVAL');
    state.headerBytes = bytes;
  }

  getVnetHdrSz(fd: number): number {
    const entry = this.trace.enter('tun.getVnetHdrSz', [fd]);
    return this.attached(entry, this.file(entry, fd)).headerBytes;
  }

  setVnetLe(fd: number, value: number): void {
    const entry = this.trace.enter('tun.setVnetLe', [fd, value]);
    this.attached(entry, this.file(entry, fd)).headerLittleEndian = value !== 0;
  }

  setPersist(fd: number, value: number): void {
    const entry = this.trace.enter('tun.setPersist', [fd, value]);
    this.ofTun(entry, fd).persistent = value !== 0;
  }

  setOwner(fd: number, uid: number): void {
    const entry = this.trace.enter('tun.setOwner', [fd, uid]);
    this.ofTun(entry, fd).owner = uid;
  }

  setGroup(fd: number, gid: number): void {
    const entry = this.trace.enter('tun.setGroup', [fd, gid]);
    this.ofTun(entry, fd).group = gid;
  }

  setSndBuf(fd: number, bytes: number): void {
    const entry = this.trace.enter('tun.setSndBuf', [fd, bytes]);
    const state = this.attached(entry, this.file(entry, fd));
    if (bytes <= 0) throw entry.refuse('EINVAL');
    state.sendBuffer = bytes;
  }

  getSndBuf(fd: number): number {
    const entry = this.trace.enter('tun.getSndBuf', [fd]);
    return this.ofTun(entry, fd).sendBuffer;
  }

  setQueue(fd: number, flags: number): void {
    const entry = this.trace.enter('tun.setQueue', [fd, flags]);
    const file = this.file(entry, fd);
    if (flags & IFF_ATTACH_QUEUE) {
      if (!file.resting) throw entry.refuse('EINVAL');
      file.attach(file.resting);
    } else if (flags & IFF_DETACH_QUEUE) {
      const { state } = file;
      if (!state || (state.flags & IFF_MULTI_QUEUE) === 0) throw entry.refuse('EINVAL');
      file.detach();
      file.resting = state;
      file.wake();
    } else throw entry.refuse('EINVAL');
  }

  setCarrier(fd: number, value: number): void {
    const entry = this.trace.enter('tun.setCarrier', [fd, value]);
    this.ofTun(entry, fd).carrier = value !== 0;
  }

  getDevNetns(fd: number): number {
    const entry = this.trace.enter('tun.getDevNetns', [fd]);
    const state = this.ofTun(entry, fd);
    if (!this.privileges.netAdmin) throw entry.refuse('EPERM');
    return this.descriptors.install(new NamespaceFile(state.interface.namespace));
  }

  /** TUNSETIFF of a name that is taken. */
  private join(entry: Entry, index: number, flags: number): TapState {
    if (flags & IFF_TUN_EXCL) throw entry.refuse('EBUSY');
    const state = this.states.get(index);
    const kind = IFF_TUN | IFF_TAP;
    if (!state || (state.flags & kind) !== (flags & kind)) throw entry.refuse('EINVAL');
    if ((state.flags & IFF_MULTI_QUEUE) !== (flags & IFF_MULTI_QUEUE)) throw entry.refuse('EINVAL');
    // An interface with an owner may be joined by whoever runs as that owner; the fake has one user only.
    if (!this.privileges.netAdmin && state.owner === -1) throw entry.refuse('EPERM');
    if ((flags & IFF_MULTI_QUEUE) === 0 && state.queues.size > 0) throw entry.refuse('EBUSY');
    if (state.queues.size >= maxQueues) throw entry.refuse('E2BIG');
    return state;
  }

  /** TUNSETIFF of a name that is free. */
  private make(entry: Entry, file: TapFile, name: string, flags: number): TapState {
    if (!this.privileges.netAdmin) throw entry.refuse('EPERM');
    const kind = flags & IFF_TUN ? 'tun' : flags & IFF_TAP ? 'tap' : undefined;
    if (!kind || /[/\s:]/.test(name)) throw entry.refuse('EINVAL');
    const chosen = this.interfaces.freeName(name === '' ? `${kind}%d` : name, file.namespace);
    return this.create(file.namespace, chosen, flags);
  }

  private create(namespace: string, name: string, flags: number): TapState {
    const added = this.interfaces.add(flags & IFF_TUN ? 'tun' : 'tap', name, namespace);
    const state = this.newState(name, namespace, flags & (IFF_TUN | IFF_TAP | tunFeatures));
    state.carrier = (flags & IFF_NO_CARRIER) === 0;
    this.states.set(added.index, state);
    return state;
  }

  private newState(name: string, namespace: string, flags: number): TapState {
    return {
      interface: this.interfaces.get(name, namespace)!,
      flags,
      queues: new Set(),
      persistent: false,
      offload: 0,
      headerBytes: VIRTIO_NET_HDR_SIZE,
      headerLittleEndian: false,
      sendBuffer: 0x7fff_ffff,
      owner: -1,
      group: -1,
      carrier: true,
    };
  }

  private file(entry: Entry, fd: number): TapFile {
    return this.descriptors.file(entry, fd, TapFile, 'ENOTTY');
  }

  private attached(entry: Entry, file: TapFile): TapState {
    // Like tun_get(): a queue that TUNSETQUEUE took out still knows its interface.
    const state = file.state ?? file.resting;
    if (state && this.interfaces.byIndex(state.interface.index, state.interface.namespace)) return state;
    throw entry.refuse(file.kind === 'macvtap' ? 'ENOLINK' : 'EBADFD');
  }

  /** A request that tap_ioctl() of macvtap lacks. */
  private ofTun(entry: Entry, fd: number): TapState {
    const file = this.file(entry, fd);
    if (file.kind === 'macvtap') throw entry.refuse('EINVAL');
    return this.attached(entry, file);
  }
}
