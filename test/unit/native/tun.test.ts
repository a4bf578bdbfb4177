import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hostKernel } from '../../../lib/kernel/host.js';
import { NetworkNamespace } from './network-namespace.js';
import { networkNamespace } from './process-state.js';
import { throwsRefusal, throwsWrongType, throwsWrongValue } from './refusal.js';
import { requireRoot } from './root.js';

const PATH = '/dev/net/tun';
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_ATTACH_QUEUE = 0x0200;
const IFF_DETACH_QUEUE = 0x0400;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const FLAGS = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

describe('native tun', () => {
  const { tun, netdev, descriptor, eventfd } = hostKernel();
  let namespace: NetworkNamespace;
  let network: number;
  let fd: number;

  before(async () => {
    requireRoot();
    namespace = await NetworkNamespace.make();
    network = netdev.open(namespace.path);
  });
  after(async () => {
    descriptor.close(network);
    await namespace.close();
  });
  beforeEach(() => {
    fd = tun.open(PATH, namespace.path);
  });
  afterEach(() => descriptor.close(fd));

  it('makes an interface in the namespace that it was opened in, and in no other', () => {
    const here = networkNamespace();
    const interfaces = readdirSync('/sys/class/net');
    assert.equal(tun.setIff(fd, 'native0', FLAGS), 'native0');
    assert.ok(netdev.getIndex(network, 'native0') > 0);
    assert.deepEqual(readdirSync('/sys/class/net'), interfaces);
    assert.equal(networkNamespace(), here);
  });

  it('tells the name that the kernel chose', () => {
    const other = tun.open(PATH, namespace.path);
    assert.equal(tun.setIff(fd, 'many%d', FLAGS), 'many0');
    assert.equal(tun.setIff(other, 'many%d', FLAGS), 'many1');
    assert.deepEqual(tun.getIff(other), { name: 'many1', flags: FLAGS });
    descriptor.close(other);
    throwsRefusal(() => netdev.getIndex(network, 'many1'), {
      code: 'ENODEV',
      syscall: 'ioctl',
      request: 'SIOCGIFINDEX',
    });
  });

  it('takes a name of 15 bytes and refuses one that would be cut', () => {
    assert.equal(tun.setIff(fd, 'fifteen-bytes-x', FLAGS), 'fifteen-bytes-x');
    throwsWrongValue(() => tun.setIff(fd, 'sixteen-bytes-xx', FLAGS), 'tun.setIff', 'name');
    throwsWrongValue(() => tun.setIff(fd, 'null\0byte', FLAGS), 'tun.setIff', 'name');
    throwsWrongValue(() => tun.setIff(fd, 'x', 0x1_0000), 'tun.setIff', 'flags');
  });

  it('knows features, offloads, header sizes and buffers', () => {
    assert.equal(tun.getFeatures(fd) & FLAGS, FLAGS);
    tun.setIff(fd, 'native1', FLAGS);
    assert.equal(tun.getVnetHdrSz(fd), 10);
    for (const bytes of [12, 10, 24]) {
      tun.setVnetHdrSz(fd, bytes);
      assert.equal(tun.getVnetHdrSz(fd), bytes);
    }
    throwsRefusal(() => tun.setVnetHdrSz(fd, 9), {
      code: 'EINVAL',
      syscall: 'ioctl',
      request: 'TUNSETVNETHDRSZ',
    });
    tun.setOffload(fd, TUN_F_CSUM | TUN_F_TSO4);
    tun.setOffload(fd, 0);
    throwsRefusal(() => tun.setOffload(fd, 0x4000_0000), {
      code: 'EINVAL',
      syscall: 'ioctl',
      request: 'TUNSETOFFLOAD',
    });
    assert.equal(tun.getSndBuf(fd), 2 ** 31 - 1);
    tun.setSndBuf(fd, 65_536);
    assert.equal(tun.getSndBuf(fd), 65_536);
    tun.setVnetLe(fd, 1);
    tun.setOwner(fd, 0);
    tun.setGroup(fd, 0);
  });

  it('lets an interface outlive its descriptor when asked to', () => {
    tun.setIff(fd, 'native2', FLAGS);
    tun.setPersist(fd, 1);
    descriptor.close(fd);
    assert.ok(netdev.getIndex(network, 'native2') > 0);
    fd = tun.open(PATH, namespace.path);
    tun.setIff(fd, 'native2', FLAGS);
    tun.setPersist(fd, 0);
  });

  it('switches the carrier', async () => {
    const IFF_RUNNING = 0x40;
    const IFF_UP = 0x1;
    tun.setIff(fd, 'native3', FLAGS);
    netdev.setFlags(network, 'native3', netdev.getFlags(network, 'native3') | IFF_UP);
    // The kernel passes a change of the carrier on from a work queue.
    const running = async (flag: number) => {
      while ((netdev.getFlags(network, 'native3') & IFF_RUNNING) !== flag) await nextTurn();
    };
    await running(IFF_RUNNING);
    tun.setCarrier(fd, 0);
    await running(0);
    tun.setCarrier(fd, 1);
    await running(IFF_RUNNING);
  });

  it('tells the namespace that the interface is in', () => {
    tun.setIff(fd, 'native7', FLAGS);
    const there = tun.getDevNetns(fd);
    const path = `/proc/self/fd/${there}`;
    assert.equal(readlinkSync(path), readlinkSync(namespace.path));
    const elsewhere = netdev.open(path);
    assert.equal(netdev.getIndex(elsewhere, 'native7'), netdev.getIndex(network, 'native7'));
    for (const each of [there, elsewhere]) descriptor.close(each);
  });

  it('adds, detaches and attaches queues', () => {
    const second = tun.open(PATH, namespace.path);
    tun.setIff(fd, 'native4', FLAGS | IFF_MULTI_QUEUE);
    tun.setIff(second, 'native4', FLAGS | IFF_MULTI_QUEUE);
    tun.setQueue(second, IFF_DETACH_QUEUE);
    tun.setQueue(second, IFF_ATTACH_QUEUE);
    throwsRefusal(() => tun.setQueue(second, 0), {
      code: 'EINVAL',
      syscall: 'ioctl',
      request: 'TUNSETQUEUE',
    });
    descriptor.close(second);
  });

  it('carries frames both ways through read and write', () => {
    tun.setIff(fd, 'native5', IFF_TAP | IFF_NO_PI);
    netdev.setFlags(network, 'native5', netdev.getFlags(network, 'native5') | 0x1);
    const frame = new Uint8Array(60).fill(0xff, 0, 6);
    assert.equal(descriptor.write(fd, frame), 60);
  });

  it('refuses a second attachment, and requests before the first', () => {
    throwsRefusal(() => tun.getIff(fd), { code: 'EBADFD', syscall: 'ioctl', request: 'TUNGETIFF' });
    tun.setIff(fd, 'native6', FLAGS);
    const second = tun.open(PATH, namespace.path);
    throwsRefusal(() => tun.setIff(second, 'native6', FLAGS), {
      code: 'EBUSY',
      syscall: 'ioctl',
      request: 'TUNSETIFF',
    });
    descriptor.close(second);
  });

  it('says which path could not be opened, device or namespace', () => {
    throwsRefusal(() => tun.open('/dev/net/none'), {
      code: 'ENOENT',
      syscall: 'open',
      path: '/dev/net/none',
    });
    throwsRefusal(() => tun.open('/dev/net/none', namespace.path), {
      code: 'ENOENT',
      syscall: 'open',
      path: '/dev/net/none',
    });
    throwsRefusal(() => tun.open(PATH, '/run/netns/none'), {
      code: 'ENOENT',
      syscall: 'open',
      path: '/run/netns/none',
    });
    throwsRefusal(() => tun.open(PATH, '/proc/self/ns/uts'), {
      code: 'EINVAL',
      syscall: 'setns',
      path: '/proc/self/ns/uts',
    });
    throwsWrongValue(() => tun.open(PATH, ''), 'tun.open', 'netns');
    throwsWrongType(() => tun.open(PATH, null as never), 'tun.open', 'netns');
  });

  it('tells the request that a descriptor of another kind refuses', () => {
    const other = eventfd.create();
    const calls: [string, () => unknown][] = [
      ['TUNGETFEATURES', () => tun.getFeatures(other)],
      ['TUNSETIFF', () => tun.setIff(other, 'x', FLAGS)],
      ['TUNGETIFF', () => tun.getIff(other)],
      ['TUNSETOFFLOAD', () => tun.setOffload(other, 0)],
      ['TUNSETVNETHDRSZ', () => tun.setVnetHdrSz(other, 12)],
      ['TUNGETVNETHDRSZ', () => tun.getVnetHdrSz(other)],
      ['TUNSETVNETLE', () => tun.setVnetLe(other, 1)],
      ['TUNSETPERSIST', () => tun.setPersist(other, 0)],
      ['TUNSETOWNER', () => tun.setOwner(other, 0)],
      ['TUNSETGROUP', () => tun.setGroup(other, 0)],
      ['TUNSETSNDBUF', () => tun.setSndBuf(other, 1)],
      ['TUNGETSNDBUF', () => tun.getSndBuf(other)],
      ['TUNSETQUEUE', () => tun.setQueue(other, IFF_ATTACH_QUEUE)],
      ['TUNSETCARRIER', () => tun.setCarrier(other, 1)],
      ['TUNGETDEVNETNS', () => tun.getDevNetns(other)],
    ];
    for (const [request, call] of calls) throwsRefusal(call, { code: 'ENOTTY', syscall: 'ioctl', request });
    descriptor.close(other);
  });
});
