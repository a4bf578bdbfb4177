import assert from 'node:assert/strict';
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TAP,
  IFF_VNET_HDR,
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_USO4,
  TUN_F_USO6,
} from '../../../lib/abi/if-tun.js';
import { openTap, type TapOptions } from '../../../lib/backend/tap.js';
import { FakeKernel, type Refusal } from '../../support/fake-kernel.js';

const everything: TapOptions = {
  name: 'tap0',
  offloads: true,
  multiQueue: true,
  persist: true,
  owner: 1000,
  group: 100,
  sendBuffer: 1 << 20,
  mtu: 9000,
  mac: '02:00:00:00:00:aa',
};

describe('openTap', () => {
  let kernel: FakeKernel;

  beforeEach(() => {
    kernel = new FakeKernel();
  });

  it('makes a tap whose frames have a virtio-net header and no protocol word, and brings it up', () => {
    const tap = openTap({ name: 'tap0' }, kernel);
    const state = kernel.tun.state('tap0')!;
    assert.equal(state.flags, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    assert.equal(state.headerBytes, 12);
    assert.equal(state.offload, 0);
    assert.equal(tap.kind, 'tap');
    assert.equal(tap.headerSize, 12);
    assert.deepEqual(tap.offloads, []);
    assert.equal(tap.interface.name, 'tap0');
    assert.equal(tap.interface.up, true);
    assert.equal(tap.interface.mtu, 1500);
    assert.equal(tap.alive(), true);
    tap.close();
    tap.close();
    assert.equal(kernel.interfaces.get('tap0'), undefined, 'it goes with its last descriptor');
    kernel.assertNothingLeft();
  });

  it('lets the kernel number it where it has no name', () => {
    const first = openTap({}, kernel);
    const second = openTap({}, kernel);
    assert.deepEqual([first.interface.name, second.interface.name], ['tap0', 'tap1']);
    first.close();
    second.close();
    kernel.assertNothingLeft();
  });

  it('sets all that it is told', () => {
    const tap = openTap(everything, kernel);
    const state = kernel.tun.state('tap0')!;
    assert.equal(state.flags, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
    assert.deepEqual(
      [state.persistent, state.owner, state.group, state.sendBuffer],
      [true, 1000, 100, 1 << 20],
    );
    assert.deepEqual(tap.offloads, ['csum', 'tso4', 'tso6', 'ecn', 'ufo', 'uso4', 'uso6']);
    assert.equal(tap.interface.mtu, 9000);
    assert.equal(tap.interface.mac, '02:00:00:00:00:aa');
    tap.close();
    assert.ok(kernel.interfaces.get('tap0'), 'a persistent one stays');
    kernel.assertNothingLeft();
  });

  it('changes nothing that is as it should be', () => {
    openTap(everything, kernel).close();
    const before = kernel.calls.length;
    openTap({ name: 'tap0', multiQueue: true, mtu: 9000, mac: '02:00:00:00:00:AA' }, kernel).close();
    const again = kernel.callNames.slice(before);
    for (const setter of ['netdev.setMtu', 'netdev.setHardwareAddress', 'netdev.setFlags'])
      assert.ok(!again.includes(setter), setter);
  });

  it('leaves an interface down where it is told to', () => {
    const tap = openTap({ up: false }, kernel);
    assert.equal(tap.interface.up, false);
    tap.close();
  });

  it('opens in a network namespace, by name and by path', () => {
    for (const [netns, path] of [
      ['blue', '/run/netns/blue'],
      ['/proc/7/ns/net', '/proc/7/ns/net'],
    ] as const) {
      kernel.interfaces.addNamespace(path);
      const tap = openTap({ netns }, kernel);
      assert.ok(kernel.interfaces.get('tap0', path));
      assert.equal(tap.interface.up, true);
      tap.close();
    }
    assert.throws(() => openTap({ netns: 'red' }, kernel), { code: 'ENOENT', path: '/run/netns/red' });
    kernel.assertNothingLeft();
  });

  it('agrees on segment offload of UDP only with a kernel that knows it', () => {
    kernel.tun.knownOffloads &= ~(TUN_F_USO4 | TUN_F_USO6);
    const tap = openTap({ offloads: true }, kernel);
    assert.deepEqual(tap.offloads, ['csum', 'tso4', 'tso6', 'ecn', 'ufo']);
    tap.close();
    assert.throws(() => openTap({ offloads: ['csum', 'uso4', 'uso6'] }, kernel), {
      code: 'EINVAL',
      request: 'TUNSETOFFLOAD',
    });
    kernel.assertNothingLeft();
  });

  it('agrees on the offloads that are listed', () => {
    const tap = openTap({ offloads: ['csum', 'tso4'] }, kernel);
    assert.deepEqual(tap.offloads, ['csum', 'tso4']);
    assert.equal(kernel.tun.state('tap0')!.offload, TUN_F_CSUM | TUN_F_TSO4);
    tap.close();
  });

  it('gives up where offloads are refused for another reason', () => {
    kernel.failOn('tun.setOffload', 'EBUSY');
    assert.throws(() => openTap({ offloads: true }, kernel), { code: 'EBUSY' });
    kernel.assertNothingLeft();
  });

  it('tells its link state by the parameter of vhost_net', () => {
    const parameter = '/sys/module/vhost_net/parameters/experimental_zcopytx';
    for (const [text, state] of [
      ['0\n', 'sync'],
      ['N\n', 'sync'],
      [undefined, 'sync'],
      ['1\n', 'async'],
      ['Y\n', 'async'],
    ] as const) {
      kernel.files.set(parameter, text);
      const tap = openTap({}, kernel);
      assert.equal(tap.linkState, state, text);
      tap.close();
    }
  });

  it('notices that its interface is gone', () => {
    const tap = openTap({ name: 'tap0' }, kernel);
    kernel.interfaces.remove('tap0');
    assert.equal(tap.alive(), false);
    tap.close();
    assert.equal(tap.alive(), false);
    kernel.assertNothingLeft();
  });

  it('refuses options that break a rule, and leaves nothing open', () => {
    const wrong: [object, RegExp][] = [
      [{ name: 'x'.repeat(16) }, /^tap\.name must be an interface name of 1 to 15 bytes/],
      [{ name: 'a/b' }, /^tap\.name must be/],
      [{ name: 7 }, /^tap\.name must be a string/],
      [{ Name: 'a' }, /did you mean "name"\?/],
      [{ owner: -1 }, /^tap\.owner must be/],
      [{ owner: 2 ** 32 - 1 }, /^tap\.owner must be/],
      [{ group: 1.5 }, /^tap\.group must be/],
      [{ sendBuffer: 0 }, /^tap\.sendBuffer must be/],
      [{ mtu: 67 }, /^mtu must be a whole number from 68/],
      [{ mtu: 65_536 }, /^mtu must be/],
      [{ mac: '02:00' }, /^mac must be six bytes in hexadecimal/],
      [{ mac: 7 }, /^mac must be a string/],
      [{ offloads: 'csum' }, /^offloads must be true, false or an array/],
      [{ offloads: ['tso'] }, /^offloads must be names among csum, tso4/],
      [{ offloads: ['tso4'] }, /^offloads must be a list with 'csum'/],
    ];
    for (const [options, message] of wrong) {
      assert.throws(
        () => openTap(options as TapOptions, kernel),
        (error: Error & { code: string }) => {
          assert.match(error.message, message);
          assert.match(error.code, /^ERR_VHOST_(INVALID_ARGUMENT|OUT_OF_RANGE)$/);
          return true;
        },
      );
      kernel.assertNothingLeft();
    }
    assert.throws(() => openTap('tap0' as never, kernel), { message: /^tap must be an object of options/ });
  });

  it('closes what it has opened wherever the kernel refuses', () => {
    const good = new FakeKernel();
    openTap(everything, good);
    const calls = good.calls.filter(({ number }) => number > 0);
    assert.ok(calls.length > 14);
    for (const { number, name } of calls) {
      const broken = new FakeKernel();
      broken.failAt(number, 'EPERM');
      assert.throws(
        () => openTap(everything, broken),
        (error: Refusal) => {
          assert.equal(error.code, 'EPERM', name);
          assert.equal(error.request, broken.refusals[0]!.request);
          assert.equal(error.syscall, broken.refusals[0]!.syscall);
          return true;
        },
      );
      broken.assertNothingLeft();
    }
  });

  it('needs a capability to make one, and says so', () => {
    kernel.privileges.netAdmin = false;
    assert.throws(() => openTap({}, kernel), { code: 'EPERM', request: 'TUNSETIFF', hint: /CAP_NET_ADMIN/ });
    kernel.assertNothingLeft();
  });
});
