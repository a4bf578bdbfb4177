import assert from 'node:assert/strict';
import { adoptDescriptor } from '../../../lib/backend/adopt.js';
import { openMacvtap } from '../../../lib/backend/macvtap.js';
import { openBackend } from '../../../lib/backend/open.js';
import { openPacketSocket } from '../../../lib/backend/packet-socket.js';
import { FakeKernel, type Refusal } from '../../support/fake-kernel.js';

function withInterfaces(): FakeKernel {
  const kernel = new FakeKernel();
  kernel.tun.addMacvtap('mv0');
  kernel.interfaces.add('ether', 'eth7');
  return kernel;
}

describe('backends beside the tap', () => {
  it('a macvtap is opened by its index, with a header', () => {
    const kernel = withInterfaces();
    const backend = openMacvtap({ name: 'mv0', offloads: true }, kernel);
    assert.deepEqual([backend.kind, backend.headerSize, backend.linkState], ['macvtap', 12, 'sync']);
    assert.equal(backend.interface.up, true);
    assert.equal(backend.alive(), true);
    backend.close();
    assert.throws(() => openMacvtap({ name: 'mv1' }, kernel), { code: 'ENODEV' });
    kernel.assertNothingLeft();
  });

  it('a packet socket carries no header unless it is told to', () => {
    const kernel = withInterfaces();
    const plain = openPacketSocket({ name: 'eth7' }, kernel);
    assert.deepEqual([plain.kind, plain.headerSize, plain.offloads], ['packet', 0, []]);
    assert.equal(plain.alive(), true);
    kernel.interfaces.remove('eth7');
    assert.equal(plain.alive(), false);
    plain.close();
    kernel.interfaces.add('ether', 'eth7');
    const headed = openPacketSocket({ name: 'eth7', offloads: true, promiscuous: false }, kernel);
    assert.deepEqual([headed.headerSize, headed.offloads], [12, ['csum', 'tso4', 'tso6', 'ecn']]);
    headed.close();
    kernel.assertNothingLeft();
  });

  it('headers of a packet socket are refused by name where the kernel knows only those of 10 bytes', () => {
    const kernel = withInterfaces();
    const fd = kernel.packet.open();
    kernel.packet.bind(fd, kernel.interfaces.get('eth7')!.index, 3);
    kernel.packet.setVnetHdrSz(fd, 10);
    for (const open of [
      () => openPacketSocket({ name: 'eth7', offloads: true }, kernel),
      () => adoptDescriptor({ fd }, kernel),
    ]) {
      kernel.failOn('packet.setVnetHdrSz', 'ENOPROTOOPT');
      assert.throws(open, {
        code: 'ERR_VHOST_UNSUPPORTED',
        request: 'PACKET_VNET_HDR_SZ',
        message: /Linux 6\.4 and later/,
      });
    }
    kernel.descriptor.close(fd);
    kernel.assertNothingLeft();
  });

  it("a descriptor of the caller is found out, copied, and stays the caller's", () => {
    const kernel = withInterfaces();
    const fd = kernel.callersDescriptor('tap');
    const backend = adoptDescriptor({ fd }, kernel);
    assert.equal(backend.kind, 'tap');
    assert.notEqual(backend.fd, fd);
    backend.close();
    kernel.assertNothingLeft();
    assert.equal(kernel.descriptor.isOpen(fd), true);
  });

  it('that of a tap in another namespace tells which, and one that may not be asked is taken to be here', () => {
    const kernel = withInterfaces();
    const elsewhere = '/run/netns/elsewhere';
    kernel.interfaces.addNamespace(elsewhere);
    const here = kernel.tun.foreign();
    const there = kernel.tun.foreign(elsewhere);
    kernel.interfaces.get('tap0', elsewhere)!.mtu = 9000;
    const backends = [here, there].map((fd) => adoptDescriptor({ fd }, kernel));
    assert.deepEqual(
      backends.map(({ interface: { name, mtu, netns } }) => [name, mtu, netns]),
      [
        ['tap0', 1500, undefined],
        ['tap0', 9000, undefined],
      ],
    );
    let removed = 0;
    const watch = backends[1]!.interface.watch(() => removed++);
    kernel.interfaces.remove('tap0', elsewhere);
    watch.close();
    for (const backend of backends) backend.close();
    kernel.failOn('netdev.open', 'EPERM');
    assert.throws(() => adoptDescriptor({ fd: kernel.tun.foreign(elsewhere) }, kernel), { code: 'EPERM' });
    kernel.failOn('tun.getDevNetns', 'EPERM');
    const unasked = adoptDescriptor({ fd: here }, kernel);
    assert.equal(unasked.interface.mtu, 1500);
    unasked.close();
    kernel.assertNothingLeft();
  });

  it('one that is none of them is refused with the reasons of all', () => {
    const kernel = withInterfaces();
    for (const kind of ['character device', 'udp socket', 'cooked packet socket', 'packet socket'] as const)
      assert.throws(
        () => adoptDescriptor({ fd: kernel.callersDescriptor(kind) }, kernel),
        (error: Error & { code: string }) => {
          assert.equal(error.code, 'ERR_VHOST_OUT_OF_RANGE');
          for (const reason of [/not a packet: /, /not a tap: /, /not a macvtap: /])
            assert.match(error.message, reason);
          return true;
        },
        kind,
      );
    assert.throws(() => adoptDescriptor({ fd: kernel.callersDescriptor('tap'), kind: 'packet' }, kernel), {
      message: /^fd must be a packet socket, a tap or a macvtap \(not a packet: /,
    });
    assert.throws(() => adoptDescriptor({ fd: 3, kind: 'tun' as never }, kernel), {
      message: /^kind must be one of/,
    });
    kernel.assertNothingLeft();
  });

  it('one of a kind that it is says itself what it is refused for', () => {
    const kernel = withInterfaces();
    const fd = kernel.callersDescriptor('tap');
    assert.throws(() => adoptDescriptor({ fd, offloads: ['tso4'] }, kernel), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /^offloads must be a list with 'csum'/,
    });
    assert.throws(() => adoptDescriptor({ fd, offloads: 7 as never }, kernel), {
      code: 'ERR_VHOST_INVALID_ARGUMENT',
      message: /^offloads must be/,
    });
    assert.throws(() => adoptDescriptor({ fd, netns: 'nowhere' }, kernel), { code: 'ENOENT' });
    kernel.failOn('tun.setVnetHdrSz', 'EBUSY');
    assert.throws(() => adoptDescriptor({ fd }, kernel), { code: 'EBUSY', request: 'TUNSETVNETHDRSZ' });
    kernel.assertNothingLeft();
  });

  it('closes what it has opened wherever the kernel refuses', () => {
    const ways = [
      { macvtap: { name: 'mv0', offloads: true, mtu: 1400 } },
      { packet: { name: 'eth7', offloads: true, bypassQdisc: true, mac: '02:00:00:00:00:aa' } },
    ];
    for (const way of ways) {
      const good = withInterfaces();
      openBackend(way, good).close();
      const opening = good.calls.filter(({ name, number }) => number > 0 && name !== 'descriptor.close');
      for (const { number, name } of opening) {
        const kernel = withInterfaces();
        kernel.failAt(number, 'EPERM');
        assert.throws(
          () => openBackend(way, kernel),
          (error: Refusal) => {
            assert.equal(error.code, 'EPERM', name);
            assert.equal(error.request, kernel.refusals[0]!.request);
            return true;
          },
          name,
        );
        kernel.assertNothingLeft();
      }
    }
  });

  it('exactly one is opened, by name or by options', () => {
    const kernel = withInterfaces();
    for (const options of [
      { tap: 'tap9' },
      { macvtap: 'mv0' },
      { packet: 'eth7' },
      { fd: kernel.callersDescriptor('tap') },
    ])
      openBackend(options, kernel).close();
    assert.throws(() => openBackend({}, kernel), { message: /^options must be made of exactly one of tap/ });
    assert.throws(() => openBackend({ tap: 'a', macvtap: 'b' }, kernel), { message: /exactly one of/ });
    for (const tap of [7, null, true])
      assert.throws(() => openBackend({ tap: tap as never }, kernel), {
        message: /^tap must be a name or an object/,
      });
    for (const fd of ['7', null, -1])
      assert.throws(() => openBackend({ fd: fd as never }, kernel), { name: /ERR_VHOST_/ });
    kernel.assertNothingLeft();
  });
});
