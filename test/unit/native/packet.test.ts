import assert from 'node:assert/strict';
import { hostKernel } from '../../../lib/kernel/host.js';
import { NetworkNamespace } from './network-namespace.js';
import { networkNamespace } from './process-state.js';
import { throwsRefusal, throwsWrongValue } from './refusal.js';
import { requireRoot } from './root.js';

const AF_INET = 2;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const ETH_P_ALL = 3;
const IFF_UP = 1;

describe('native packet', () => {
  const { packet, tun, netdev, descriptor, eventfd } = hostKernel();
  let namespace: NetworkNamespace;
  let network: number;
  let tap: number;
  let index: number;
  let fd: number;

  before(async () => {
    requireRoot();
    namespace = await NetworkNamespace.make();
    network = netdev.open(namespace.path);
    tap = tun.open('/dev/net/tun', namespace.path);
    tun.setIff(tap, 'packet0', 0x1002);
    netdev.setFlags(network, 'packet0', netdev.getFlags(network, 'packet0') | IFF_UP);
    index = netdev.getIndex(network, 'packet0');
  });
  after(async () => {
    descriptor.close(tap);
    descriptor.close(network);
    await namespace.close();
  });
  beforeEach(() => {
    fd = packet.open(namespace.path);
  });
  afterEach(() => descriptor.close(fd));

  it('is a raw packet socket that is bound to nothing yet', () => {
    assert.deepEqual(packet.describe(fd), {
      domain: AF_PACKET,
      type: SOCK_RAW,
      interfaceIndex: 0,
      protocol: 0,
    });
    throwsRefusal(() => descriptor.read(fd, new Uint8Array(64)), { code: 'EAGAIN', syscall: 'read' });
  });

  it('is bound to an interface of its namespace', () => {
    packet.bind(fd, index, ETH_P_ALL);
    assert.deepEqual(packet.describe(fd), {
      domain: AF_PACKET,
      type: SOCK_RAW,
      interfaceIndex: index,
      protocol: ETH_P_ALL,
    });
    throwsRefusal(() => packet.bind(fd, 1_000_000, ETH_P_ALL), { code: 'ENODEV', syscall: 'bind' });
    throwsWrongValue(() => packet.bind(fd, index, 0x1_0000), 'packet.bind', 'protocol');
  });

  it('receives the frames that the interface receives', () => {
    packet.bind(fd, index, ETH_P_ALL);
    packet.addPromiscuous(fd, index);
    packet.setIgnoreOutgoing(fd, 1);
    const frame = new Uint8Array(60).map((_, i) => i);
    assert.equal(descriptor.write(tap, frame), 60);
    const received = new Uint8Array(128);
    assert.equal(descriptor.read(fd, received), 60);
    assert.deepEqual(received.subarray(0, 60), frame);
  });

  it('has a virtio-net header of the size asked for', () => {
    assert.equal(packet.getVnetHdrSz(fd), 0);
    packet.setVnetHdrSz(fd, 10);
    assert.equal(packet.getVnetHdrSz(fd), 10);
    packet.setVnetHdrSz(fd, 0);
    assert.equal(packet.getVnetHdrSz(fd), 0);
    throwsRefusal(() => packet.setVnetHdrSz(fd, 11), {
      code: 'EINVAL',
      syscall: 'setsockopt',
      request: 'PACKET_VNET_HDR_SZ',
    });
  });

  it('goes past the queueing discipline when asked to', () => {
    packet.setQdiscBypass(fd, 1);
    packet.setQdiscBypass(fd, 0);
  });

  it('tells the option that is refused', () => {
    const other = eventfd.create();
    const refusals: [string, string, () => unknown][] = [
      ['setsockopt', 'PACKET_VNET_HDR_SZ', () => packet.setVnetHdrSz(other, 10)],
      ['getsockopt', 'PACKET_VNET_HDR_SZ', () => packet.getVnetHdrSz(other)],
      ['setsockopt', 'PACKET_QDISC_BYPASS', () => packet.setQdiscBypass(other, 1)],
      ['setsockopt', 'PACKET_ADD_MEMBERSHIP', () => packet.addPromiscuous(other, 1)],
      ['setsockopt', 'PACKET_IGNORE_OUTGOING', () => packet.setIgnoreOutgoing(other, 1)],
      ['getsockopt', 'SO_DOMAIN', () => packet.describe(other)],
    ];
    for (const [syscall, request, call] of refusals)
      throwsRefusal(call, { code: 'ENOTSOCK', syscall, request });
    throwsRefusal(() => packet.bind(other, 1, ETH_P_ALL), { code: 'ENOTSOCK', syscall: 'bind' });
    throwsRefusal(() => packet.addPromiscuous(fd, 1_000_000), {
      code: 'ENODEV',
      syscall: 'setsockopt',
      request: 'PACKET_ADD_MEMBERSHIP',
    });
    descriptor.close(other);
  });

  it('describes a socket of another family', () => {
    const socket = netdev.open();
    assert.deepEqual(packet.describe(socket), {
      domain: AF_INET,
      type: SOCK_DGRAM,
      interfaceIndex: 0,
      protocol: 0,
    });
    descriptor.close(socket);
  });

  it('leaves this thread in its own namespace', () => {
    const here = networkNamespace();
    descriptor.close(packet.open(namespace.path));
    assert.equal(networkNamespace(), here);
    throwsRefusal(() => packet.open('/proc/self/ns/pid'), {
      code: 'EINVAL',
      syscall: 'setns',
      path: '/proc/self/ns/pid',
    });
  });
});
