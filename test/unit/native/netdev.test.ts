import assert from 'node:assert/strict';
import { hostKernel } from '../../../lib/kernel/host.js';
import { NetworkNamespace } from './network-namespace.js';
import { throwsRefusal, throwsWrongType, throwsWrongValue } from './refusal.js';
import { requireRoot } from './root.js';

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;

describe('native netdev', () => {
  const { netdev, tun, descriptor } = hostKernel();
  let namespace: NetworkNamespace;
  let fd: number;
  let tap: number;

  before(async () => {
    requireRoot();
    namespace = await NetworkNamespace.make();
    fd = netdev.open(namespace.path);
    tap = tun.open('/dev/net/tun', namespace.path);
    tun.setIff(tap, 'netdev0', 0x1002);
  });
  after(async () => {
    descriptor.close(tap);
    descriptor.close(fd);
    await namespace.close();
  });

  it('finds an interface by name and by index', () => {
    assert.equal(netdev.getIndex(fd, 'lo'), 1);
    assert.equal(netdev.getName(fd, 1), 'lo');
    const index = netdev.getIndex(fd, 'netdev0');
    assert.equal(netdev.getName(fd, index), 'netdev0');
  });

  it('acts on the namespace that it was opened in', () => {
    const here = netdev.open();
    assert.equal(netdev.getFlags(fd, 'lo') & (IFF_LOOPBACK | IFF_UP), IFF_LOOPBACK);
    throwsRefusal(() => netdev.getIndex(here, 'netdev0'), {
      code: 'ENODEV',
      syscall: 'ioctl',
      request: 'SIOCGIFINDEX',
    });
    descriptor.close(here);
  });

  it('tells of what happens to the interfaces of a namespace', async () => {
    const watch = netdev.watch(namespace.path);
    const message = new Uint8Array(64);
    throwsRefusal(() => descriptor.read(watch, message), { code: 'EAGAIN', syscall: 'read' });
    netdev.setMtu(fd, 'netdev0', 1400);
    assert.ok(descriptor.read(watch, message) > 0);
    netdev.setMtu(fd, 'netdev0', 1500);
    descriptor.close(watch);
    throwsRefusal(() => netdev.watch('/nowhere'), { code: 'ENOENT', syscall: 'open', path: '/nowhere' });
  });

  it('reads and sets flags', () => {
    const down = netdev.getFlags(fd, 'netdev0');
    assert.equal(down & IFF_UP, 0);
    netdev.setFlags(fd, 'netdev0', down | IFF_UP);
    assert.equal(netdev.getFlags(fd, 'netdev0') & IFF_UP, IFF_UP);
    netdev.setFlags(fd, 'netdev0', down);
    assert.equal(netdev.getFlags(fd, 'netdev0') & IFF_UP, 0);
  });

  it('reads and sets the MTU', () => {
    assert.equal(netdev.getMtu(fd, 'netdev0'), 1500);
    netdev.setMtu(fd, 'netdev0', 9000);
    assert.equal(netdev.getMtu(fd, 'netdev0'), 9000);
    throwsRefusal(() => netdev.setMtu(fd, 'netdev0', -1), {
      code: 'EINVAL',
      syscall: 'ioctl',
      request: 'SIOCSIFMTU',
    });
  });

  it('reads and sets the hardware address', () => {
    const address = new Uint8Array([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
    netdev.setHardwareAddress(fd, 'netdev0', address);
    assert.deepEqual(netdev.getHardwareAddress(fd, 'netdev0'), address);
    assert.deepEqual(netdev.getHardwareAddress(fd, 'lo'), new Uint8Array(6));
    throwsWrongValue(
      () => netdev.setHardwareAddress(fd, 'netdev0', address.subarray(1)),
      'netdev.setHardwareAddress',
      'address',
    );
    throwsWrongType(
      () => netdev.setHardwareAddress(fd, 'netdev0', new Uint16Array(6) as never),
      'netdev.setHardwareAddress',
      'address',
    );
    throwsRefusal(() => netdev.setHardwareAddress(fd, 'netdev0', new Uint8Array(6).fill(0xff)), {
      code: 'EADDRNOTAVAIL',
      syscall: 'ioctl',
      request: 'SIOCSIFHWADDR',
    });
  });

  it('tells the request that is refused', () => {
    const calls: [string, () => unknown][] = [
      ['SIOCGIFINDEX', () => netdev.getIndex(fd, 'none')],
      ['SIOCGIFNAME', () => netdev.getName(fd, 1_000_000)],
      ['SIOCGIFFLAGS', () => netdev.getFlags(fd, 'none')],
      ['SIOCSIFFLAGS', () => netdev.setFlags(fd, 'none', 0)],
      ['SIOCGIFMTU', () => netdev.getMtu(fd, 'none')],
      ['SIOCSIFMTU', () => netdev.setMtu(fd, 'none', 1500)],
      ['SIOCGIFHWADDR', () => netdev.getHardwareAddress(fd, 'none')],
      ['SIOCSIFHWADDR', () => netdev.setHardwareAddress(fd, 'none', new Uint8Array(6))],
    ];
    for (const [request, call] of calls) throwsRefusal(call, { code: 'ENODEV', syscall: 'ioctl', request });
    throwsWrongValue(() => netdev.getIndex(fd, 'n'.repeat(16)), 'netdev.getIndex', 'name');
  });
});
