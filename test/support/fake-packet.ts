import { constants } from 'node:fs';
import { AF_PACKET, SOCK_RAW } from '../../lib/abi/socket.js';
import { VIRTIO_NET_HDR_SIZE, VIRTIO_NET_HDR_V1_SIZE } from '../../lib/abi/virtio-net.js';
import type { PacketSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import { type FakeInterface, type FakeInterfaces, ownNamespace } from './fake-interfaces.js';
import type { Privileges } from './fake-privileges.js';
import type { Entry, Trace } from './fake-trace.js';

/** An open socket; a packet socket unless a test makes another. */
export class SocketFile extends OpenFile {
  readonly domain: number;
  readonly socketType: number;
  readonly namespace: string;
  headerBytes = 0;
  qdiscBypass = false;
  ignoreOutgoing = false;
  interfaceIndex = 0;
  protocol = 0;
  readonly promiscuous: number[] = [];
  /** What the next read is refused with, and poll(2) tells of until then: sk_err. */
  pending: string | undefined;

  constructor(domain: number, socketType: number, namespace = ownNamespace) {
    super('socket', constants.S_IFSOCK);
    this.domain = domain;
    this.socketType = socketType;
    this.namespace = namespace;
  }

  override get broken(): boolean {
    return this.pending !== undefined;
  }

  override read(entry: Entry, buffer: Uint8Array): number {
    const { pending } = this;
    this.pending = undefined;
    if (pending !== undefined) throw entry.refuse(pending);
    return super.read(entry, buffer);
  }

  get isRawPacket(): boolean {
    return this.domain === AF_PACKET && this.socketType === SOCK_RAW;
  }
}

/** The packet sockets of a fake kernel, like net/packet/af_packet.c. */
export class FakePackets implements PacketSurface {
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
    const entry = this.trace.enter('packet.open', netns === undefined ? [] : [netns]);
    const namespace = netns ?? ownNamespace;
    if (!this.interfaces.hasNamespace(namespace)) throw entry.refuse('ENOENT', namespace);
    if (!this.privileges.netRaw) throw entry.refuse('EPERM');
    return this.descriptors.install(new SocketFile(AF_PACKET, SOCK_RAW, namespace));
  }

  setVnetHdrSz(fd: number, bytes: number): void {
    const entry = this.trace.enter('packet.setVnetHdrSz', [fd, bytes]);
    const socket = this.packet(entry, fd);
    if (bytes !== 0 && bytes !== VIRTIO_NET_HDR_SIZE && bytes !== VIRTIO_NET_HDR_V1_SIZE)
      throw entry.refuse('EINVAL');
    socket.headerBytes = bytes;
  }

  getVnetHdrSz(fd: number): number {
    return this.packet(this.trace.enter('packet.getVnetHdrSz', [fd]), fd).headerBytes;
  }

  setQdiscBypass(fd: number, value: number): void {
    this.packet(this.trace.enter('packet.setQdiscBypass', [fd, value]), fd).qdiscBypass = value !== 0;
  }

  addPromiscuous(fd: number, interfaceIndex: number): void {
    const entry = this.trace.enter('packet.addPromiscuous', [fd, interfaceIndex]);
    const socket = this.packet(entry, fd);
    this.interface(entry, socket, interfaceIndex);
    socket.promiscuous.push(interfaceIndex);
  }

  setIgnoreOutgoing(fd: number, value: number): void {
    this.packet(this.trace.enter('packet.setIgnoreOutgoing', [fd, value]), fd).ignoreOutgoing = value !== 0;
  }

  bind(fd: number, interfaceIndex: number, protocol: number): void {
    const entry = this.trace.enter('packet.bind', [fd, interfaceIndex, protocol]);
    const socket = this.packet(entry, fd);
    // Index 0 is every interface.
    if (interfaceIndex !== 0) this.interface(entry, socket, interfaceIndex);
    socket.interfaceIndex = interfaceIndex;
    socket.protocol = protocol;
  }

  describe(fd: number): { domain: number; type: number; interfaceIndex: number; protocol: number } {
    const entry = this.trace.enter('packet.describe', [fd]);
    const { domain, socketType, interfaceIndex, protocol } = this.descriptors.file(
      entry,
      fd,
      SocketFile,
      'ENOTSOCK',
    );
    return { domain, type: socketType, interfaceIndex, protocol };
  }

  private packet(entry: Entry, fd: number): SocketFile {
    const socket = this.descriptors.file(entry, fd, SocketFile, 'ENOTSOCK');
    // Another family does not know options at level SOL_PACKET.
    if (socket.domain !== AF_PACKET) throw entry.refuse('ENOPROTOOPT');
    return socket;
  }

  private interface(entry: Entry, socket: SocketFile, index: number): FakeInterface {
    const found = this.interfaces.byIndex(index, socket.namespace);
    if (!found) throw entry.refuse('ENODEV');
    return found;
  }
}
