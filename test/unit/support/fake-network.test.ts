import assert from 'node:assert/strict';
import {
  IFF_ATTACH_QUEUE,
  IFF_DETACH_QUEUE,
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  TUN_F_CSUM,
  TUN_F_TSO_ECN,
  TUN_F_TSO4,
  TUN_F_USO4,
  TUN_F_USO6,
} from '../../../lib/abi/if-tun.js';
import { IFF_RUNNING, IFF_UP } from '../../../lib/abi/netdevice.js';
import { FakeKernel } from '../../support/fake-kernel.js';

const tapFlags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

describe('fake kernel: TUN/TAP', () => {
  let kernel: FakeKernel;
  let fd: number;
  beforeEach(() => {
    kernel = new FakeKernel();
    fd = kernel.tun.open('/dev/net/tun');
  });

  it('makes an interface, and names it by a pattern', () => {
    assert.equal(kernel.tun.setIff(fd, 'frames0', tapFlags), 'frames0');
    assert.deepEqual(kernel.tun.getIff(fd), { name: 'frames0', flags: tapFlags });
    for (const [pattern, name] of [
      ['tap%d', 'tap0'],
      ['', 'tap1'],
    ] as const)
      assert.equal(kernel.tun.setIff(kernel.tun.open('/dev/net/tun'), pattern, tapFlags), name);
  });

  it('removes the interface with its last descriptor, unless it persists', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    const copy = kernel.descriptor.duplicate(fd);
    kernel.descriptor.close(fd);
    assert.ok(kernel.interfaces.get('frames0'));
    kernel.descriptor.close(copy);
    assert.equal(kernel.interfaces.get('frames0'), undefined);

    const kept = kernel.tun.open('/dev/net/tun');
    kernel.tun.setIff(kept, 'frames1', tapFlags);
    kernel.tun.setPersist(kept, 1);
    assert.equal(kernel.tun.getIff(kept).flags, tapFlags | IFF_PERSIST);
    kernel.descriptor.close(kept);
    assert.ok(kernel.interfaces.get('frames1'));
    kernel.tun.setIff(kernel.tun.open('/dev/net/tun'), 'frames1', tapFlags);
  });

  it('EBUSY for a second open of one name, EEXIST for a second name of one descriptor', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    const second = kernel.tun.open('/dev/net/tun');
    assert.throws(() => kernel.tun.setIff(second, 'frames0', tapFlags), {
      code: 'EBUSY',
      request: 'TUNSETIFF',
    });
    assert.throws(() => kernel.tun.setIff(second, 'frames0', tapFlags | IFF_TUN_EXCL), { code: 'EBUSY' });
    assert.throws(() => kernel.tun.setIff(fd, 'frames1', tapFlags), { code: 'EEXIST' });
  });

  it('EINVAL where kind or number of queues differ, or the name is of something else', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    kernel.interfaces.add('ether', 'eth0');
    const second = kernel.tun.open('/dev/net/tun');
    for (const [name, flags] of [
      ['frames0', tapFlags | IFF_MULTI_QUEUE],
      ['frames0', IFF_TUN | IFF_NO_PI],
      ['eth0', tapFlags],
      ['frames1', IFF_NO_PI],
      ['a/b', tapFlags],
      ['sixteen-bytes-xx', tapFlags],
    ] as const)
      assert.throws(() => kernel.tun.setIff(second, name, flags), { code: 'EINVAL' }, name);
  });

  it('EPERM to make an interface without CAP_NET_ADMIN', () => {
    kernel.privileges.netAdmin = false;
    assert.throws(() => kernel.tun.setIff(fd, 'frames0', tapFlags), { code: 'EPERM' });
  });

  it('several queues: each a descriptor, which rests and takes part again', () => {
    const flags = tapFlags | IFF_MULTI_QUEUE;
    kernel.tun.setIff(fd, 'frames0', flags);
    const second = kernel.tun.open('/dev/net/tun');
    kernel.tun.setIff(second, 'frames0', flags);
    kernel.tun.setQueue(second, IFF_DETACH_QUEUE);
    assert.throws(() => kernel.tun.setQueue(second, IFF_DETACH_QUEUE), { code: 'EINVAL' });
    assert.equal(kernel.tun.getIff(second).name, 'frames0', 'it still knows its interface');
    kernel.tun.setQueue(second, IFF_ATTACH_QUEUE);
    assert.equal(kernel.tun.getIff(second).name, 'frames0');
    kernel.tun.setQueue(second, IFF_DETACH_QUEUE);
    kernel.interfaces.remove('frames0');
    assert.throws(() => kernel.tun.getIff(second), { code: 'EBADFD' });
    assert.throws(() => kernel.tun.setQueue(fd, 0), { code: 'EINVAL' });
  });

  it('EBADFD for requests before TUNSETIFF, but not for the features', () => {
    assert.throws(() => kernel.tun.setOffload(fd, 0), { code: 'EBADFD', errno: -77 });
    assert.throws(() => kernel.tun.setVnetHdrSz(fd, 12), { code: 'EBADFD' });
    assert.ok(kernel.tun.getFeatures(fd) & IFF_VNET_HDR);
  });

  it('offloads: EINVAL for unknown bits, and for those that need others', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    for (const offload of [0x4000, TUN_F_TSO4, TUN_F_CSUM | TUN_F_TSO_ECN, TUN_F_CSUM | TUN_F_USO4])
      assert.throws(
        () => kernel.tun.setOffload(fd, offload),
        { code: 'EINVAL' },
        `0x${offload.toString(16)}`,
      );
    kernel.tun.setOffload(fd, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6);
    kernel.tun.knownOffloads &= ~(TUN_F_USO4 | TUN_F_USO6);
    assert.throws(() => kernel.tun.setOffload(fd, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6), { code: 'EINVAL' });
    assert.equal(kernel.tun.state('frames0')!.offload, 0x6b);
  });

  it('header size: 10 until told, EINVAL below', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    assert.equal(kernel.tun.getVnetHdrSz(fd), 10);
    assert.throws(() => kernel.tun.setVnetHdrSz(fd, 9), { code: 'EINVAL' });
    kernel.tun.setVnetHdrSz(fd, 12);
    assert.equal(kernel.tun.getVnetHdrSz(fd), 12);
  });

  it('send buffer, owner, group, carrier and byte order are kept', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    assert.equal(kernel.tun.getSndBuf(fd), 0x7fffffff);
    assert.throws(() => kernel.tun.setSndBuf(fd, 0), { code: 'EINVAL' });
    kernel.tun.setSndBuf(fd, 4096);
    kernel.tun.setOwner(fd, 1000);
    kernel.tun.setGroup(fd, 1001);
    kernel.tun.setCarrier(fd, 0);
    kernel.tun.setVnetLe(fd, 1);
    const { sendBuffer, owner, group, carrier, headerLittleEndian } = kernel.tun.state('frames0')!;
    assert.deepEqual(
      [sendBuffer, owner, group, carrier, headerLittleEndian],
      [4096, 1000, 1001, false, true],
    );
  });

  it('a deleted interface leaves the descriptor in error', async () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    const seen: boolean[] = [];
    const poller = kernel.poller.watchReadable(fd, (error) => {
      seen.push(error);
      poller.close();
    });
    kernel.interfaces.remove('frames0');
    await kernel.idle();
    assert.deepEqual(seen, [true]);
    assert.throws(() => kernel.tun.getIff(fd), { code: 'EBADFD' });
  });

  it('macvtap: a node of its own, its own flags, fewer requests', () => {
    const path = kernel.tun.addMacvtap('macvtap0');
    const node = kernel.tun.open(path);
    assert.equal(kernel.tun.setIff(node, '', tapFlags), 'macvtap0');
    kernel.tun.setVnetHdrSz(node, 12);
    assert.throws(() => kernel.tun.setIff(node, '', IFF_TUN | IFF_NO_PI), { code: 'EINVAL' });
    assert.throws(() => kernel.tun.setPersist(node, 1), { code: 'EINVAL' });
    assert.equal(kernel.tun.getFeatures(node) & IFF_TUN, 0);
    kernel.descriptor.close(node);
    assert.ok(kernel.interfaces.get('macvtap0'), 'the interface stays');
  });

  it('another namespace has interfaces of its own', () => {
    kernel.interfaces.addNamespace('/run/netns/blue');
    const blue = kernel.tun.open('/dev/net/tun', '/run/netns/blue');
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    kernel.tun.setIff(blue, 'frames0', tapFlags);
    const control = kernel.netdev.open('/run/netns/blue');
    assert.notEqual(
      kernel.netdev.getIndex(control, 'frames0'),
      kernel.netdev.getIndex(kernel.netdev.open(), 'frames0'),
    );
    assert.throws(() => kernel.packet.open('/run/netns/red'), { code: 'ENOENT', path: '/run/netns/red' });
  });

  it('frames written are kept, frames that arrive are read, EAGAIN when there is none', () => {
    kernel.tun.setIff(fd, 'frames0', tapFlags);
    const buffer = new Uint8Array(64);
    assert.throws(() => kernel.descriptor.read(fd, buffer), { code: 'EAGAIN' });
    kernel.arrive(fd, Uint8Array.of(1, 2, 3));
    assert.equal(kernel.descriptor.read(fd, buffer), 3);
    assert.deepEqual(buffer.subarray(0, 3), Uint8Array.of(1, 2, 3));
    assert.equal(kernel.descriptor.write(fd, Uint8Array.of(4, 5)), 2);
    assert.deepEqual(kernel.written(fd), [Uint8Array.of(4, 5)]);
  });
});

describe('fake kernel: packet sockets', () => {
  it('binds to an interface that exists, with a header of 0, 10 or 12 bytes', () => {
    const kernel = new FakeKernel();
    const { index } = kernel.interfaces.add('ether', 'eth0');
    const fd = kernel.packet.open();
    assert.throws(() => kernel.packet.bind(fd, 99, 3), { code: 'ENODEV', syscall: 'bind' });
    assert.throws(() => kernel.packet.addPromiscuous(fd, 99), { code: 'ENODEV' });
    assert.throws(() => kernel.packet.setVnetHdrSz(fd, 11), { code: 'EINVAL' });
    kernel.packet.setVnetHdrSz(fd, 12);
    kernel.packet.setQdiscBypass(fd, 1);
    kernel.packet.setIgnoreOutgoing(fd, 1);
    kernel.packet.addPromiscuous(fd, index);
    kernel.packet.bind(fd, index, 3);
    assert.equal(kernel.packet.getVnetHdrSz(fd), 12);
    assert.deepEqual(kernel.packet.describe(fd), { domain: 17, type: 3, interfaceIndex: index, protocol: 3 });
  });

  it('EPERM without CAP_NET_RAW; ENOTSOCK and ENOPROTOOPT for what is no packet socket', () => {
    const kernel = new FakeKernel();
    const udp = kernel.callersDescriptor('udp socket');
    assert.deepEqual(kernel.packet.describe(udp), { domain: 2, type: 2, interfaceIndex: 0, protocol: 0 });
    assert.throws(() => kernel.packet.setVnetHdrSz(udp, 12), { code: 'ENOPROTOOPT' });
    assert.throws(() => kernel.packet.describe(kernel.callersDescriptor('tap')), { code: 'ENOTSOCK' });
    kernel.privileges.netRaw = false;
    assert.throws(() => kernel.packet.open(), { code: 'EPERM', syscall: 'socket' });
  });
});

describe('fake kernel: interfaces by name', () => {
  let kernel: FakeKernel;
  let fd: number;
  beforeEach(() => {
    kernel = new FakeKernel();
    kernel.interfaces.add('ether', 'eth0');
    fd = kernel.netdev.open();
  });

  it('index and name, ENODEV for others', () => {
    assert.equal(kernel.netdev.getName(fd, kernel.netdev.getIndex(fd, 'eth0')), 'eth0');
    assert.throws(() => kernel.netdev.getIndex(fd, 'eth1'), { code: 'ENODEV', request: 'SIOCGIFINDEX' });
    assert.throws(() => kernel.netdev.getName(fd, 99), { code: 'ENODEV' });
  });

  it('flags: up is running', () => {
    const flags = kernel.netdev.getFlags(fd, 'eth0');
    assert.equal(flags & (IFF_UP | IFF_RUNNING), 0);
    kernel.netdev.setFlags(fd, 'eth0', flags | IFF_UP);
    assert.equal(kernel.netdev.getFlags(fd, 'eth0'), flags | IFF_UP | IFF_RUNNING);
  });

  it('MTU within its range, an address that one station can have', () => {
    for (const mtu of [67, 65522])
      assert.throws(() => kernel.netdev.setMtu(fd, 'eth0', mtu), { code: 'EINVAL' });
    kernel.netdev.setMtu(fd, 'eth0', 9000);
    assert.equal(kernel.netdev.getMtu(fd, 'eth0'), 9000);
    const address = Uint8Array.of(2, 3, 4, 5, 6, 7);
    kernel.netdev.setHardwareAddress(fd, 'eth0', address);
    assert.deepEqual(kernel.netdev.getHardwareAddress(fd, 'eth0'), address);
    for (const bad of [new Uint8Array(6), Uint8Array.of(1, 0, 0, 0, 0, 0)])
      assert.throws(() => kernel.netdev.setHardwareAddress(fd, 'eth0', bad), { code: 'EADDRNOTAVAIL' });
  });

  it('EPERM to change anything without CAP_NET_ADMIN', () => {
    kernel.privileges.netAdmin = false;
    assert.throws(() => kernel.netdev.setMtu(fd, 'eth0', 9000), { code: 'EPERM' });
    assert.throws(() => kernel.netdev.setFlags(fd, 'eth0', IFF_UP), { code: 'EPERM' });
    assert.equal(kernel.netdev.getMtu(fd, 'eth0'), 1500);
  });
});
