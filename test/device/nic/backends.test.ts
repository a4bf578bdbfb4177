import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { hostKernel, Nic, type NicOptions, type NicPair, openBackend } from '../../../lib/index.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { resources } from '../../support/process-resources.js';
import { testDevice } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';

const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const ETH_P_ALL = 0x0003;
let macvtaps = 0;

/** Sends frames from one `Nic` and compares what comes out of another. */
async function cross(
  from: Nic | NicPair,
  to: Nic,
  frames: NumberedFrames,
  first = 0,
  count = 50,
): Promise<void> {
  const crossing = (async () => {
    let next = first;
    for await (const batch of to.receive()) {
      for (const frame of batch) {
        if (frames.number(frame, 0) !== next) continue;
        frames.check(next, frame, 0, frame.length);
        next++;
      }
      if (next === first + count) return;
    }
  })();
  const batch = Array.from({ length: count }, (_, i) => frames.frame(first + i));
  assert.deepEqual(await from.submit(batch).completed, { completed: count, abandoned: 0, withdrawn: 0 });
  await within(`${count} frames crossed`, crossing);
}

describe('backends', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  const nics: Nic[] = [];

  beforeEach(() => {
    namespace = Namespace.add();
    namespace.ip(
      'link',
      'add',
      'near',
      'address',
      '02:00:00:00:00:0a',
      'type',
      'veth',
      'peer',
      'name',
      'far',
    );
    for (const end of ['near', 'far']) namespace.ip('link', 'set', end, 'up');
  });
  afterEach(async () => {
    for (const nic of nics.splice(0)) await nic.close();
    await namespace.remove();
  });

  async function open(options: NicOptions): Promise<Nic> {
    const nic = await Nic.open({ ...testDevice, ...options });
    nics.push(nic);
    return nic;
  }

  const netns = () => namespace.name;
  const there = () => new NumberedFrames(600, 'a', 'b');
  const back = () => new NumberedFrames(600, 'b', 'a');

  it('carries frames both ways over packet sockets, whose headers vhost supplies', async () => {
    const near = await open({ packet: { name: 'near', netns: netns() } });
    const far = await open({ packet: { name: 'far', netns: netns() } });
    assert.deepEqual(
      [near.backend.kind, near.backend.headerSize, near.stats().transmit.linkState],
      ['packet', 0, 'sync'],
    );
    await cross(near, far, there());
    await cross(far, near, back());
  });

  /** Whether this kernel's packet sockets know headers of 12 bytes. */
  function knowsHeaders(): boolean {
    const { packet, descriptor } = hostKernel();
    const fd = packet.open(`/run/netns/${netns()}`);
    try {
      packet.setVnetHdrSz(fd, 12);
      return packet.getVnetHdrSz(fd) === 12;
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOPROTOOPT');
      return false;
    } finally {
      descriptor.close(fd);
    }
  }

  it('carries frames both ways over packet sockets with headers of their own, where the kernel knows them', async () => {
    const options = (name: string) => ({ packet: { name, netns: netns(), offloads: true } });
    if (!knowsHeaders()) {
      await assert.rejects(open(options('near')), {
        code: 'ERR_VHOST_UNSUPPORTED',
        request: 'PACKET_VNET_HDR_SZ',
        message: /^this kernel's packet sockets carry no headers of 12 bytes: Linux 6\.4 and later have/,
      });
      return;
    }
    const near = await open(options('near'));
    const far = await open(options('far'));
    assert.equal(near.backend.headerSize, 12);
    await cross(near, far, there());
    await cross(far, near, back());
  });

  it('adopts a packet socket that carries headers where the kernel knows those of 12 bytes', () => {
    const { packet, netdev, descriptor } = hostKernel();
    const fd = packet.open(`/run/netns/${netns()}`);
    const device = netdev.open(`/run/netns/${netns()}`);
    packet.bind(fd, netdev.getIndex(device, 'near'), 3);
    packet.setVnetHdrSz(fd, 10);
    const adopt = () => openBackend({ fd: { fd, netns: netns() } });
    if (knowsHeaders()) {
      const adopted = adopt();
      assert.deepEqual([adopted.kind, adopted.headerSize], ['packet', 12]);
      adopted.close();
    } else assert.throws(adopt, { code: 'ERR_VHOST_UNSUPPORTED', request: 'PACKET_VNET_HDR_SZ' });
    for (const each of [fd, device]) descriptor.close(each);
  });

  function addMacvtap(): string {
    const name = `macvtap-b${++macvtaps}`;
    namespace.ip(
      ...['link', 'add', 'link', 'near', 'name', name, 'address', '02:00:00:00:00:0b'],
      ...['type', 'macvtap', 'mode', 'bridge'],
    );
    return name;
  }

  it('carries frames both ways over a macvtap, of the namespace where it is', async () => {
    const name = addMacvtap();
    const near = await open({ macvtap: { name, netns: netns() } });
    const far = await open({ packet: { name: 'far', netns: netns() } });
    assert.deepEqual([near.backend.kind, near.backend.interface.mac], ['macvtap', '02:00:00:00:00:0b']);
    await cross(near, far, back());
    await cross(far, near, there());
  });

  it('carries frames both ways over the queue pairs of a macvtap, which come and go', async () => {
    const near = await open({ macvtap: { name: addMacvtap(), netns: netns() }, queuePairs: 3 });
    const far = await open({ packet: { name: 'far', netns: netns() } });
    for (const [i, pair] of near.pairs.entries()) {
      await cross(pair, far, back(), 50 * i);
      await cross(far, near, there(), 50 * i);
    }
    await near.pairs[1]!.disable();
    await assert.rejects(near.pairs[1]!.send(new Uint8Array(60)), { code: 'ERR_VHOST_DISABLED' });
    for (const pair of [near.pairs[0]!, near.pairs[2]!]) await cross(pair, far, back(), 200);
    await cross(far, near, there(), 200);
    await near.pairs[1]!.enable();
    await cross(near.pairs[1]!, far, back(), 300);
    await cross(far, near, there(), 300);
  });

  it('sets MTU, address and persistence of a tap, and finds it again', async () => {
    const tap = { name: 'kept', netns: netns(), mtu: 4000, mac: '02:00:00:00:00:77', persist: true };
    const first = await open({ tap });
    assert.deepEqual([first.backend.interface.mtu, first.backend.interface.mac], [4000, '02:00:00:00:00:77']);
    assert.equal(first.tx.mtu, 4000);
    await first.close();
    assert.match(namespace.ip('link', 'show', 'kept'), /mtu 4000/);
    await (await open({ tap: { name: 'kept', netns: netns(), persist: false } })).close();
    assert.throws(() => namespace.ip('link', 'show', 'kept'), /does not exist/);
  });

  /** What the kernel tells of an interface. */
  const told = (name: string) => {
    const [link] = JSON.parse(namespace.ip('-json', 'link', 'show', name));
    return [link.mtu, link.address];
  };
  const attribute = (name: string, what: string) =>
    namespace.run('cat', `/sys/class/net/${name}/${what}`).trim();

  it('gives a tap its owner and its group, as the kernel tells them', async () => {
    await open({ tap: { name: 'owned', netns: netns(), owner: 1234, group: 5678 } });
    assert.deepEqual([attribute('owned', 'owner'), attribute('owned', 'group')], ['1234', '5678']);
    await open({ tap: { name: 'free', netns: netns() } });
    assert.equal(attribute('free', 'owner'), '-1');
  });

  it('sets MTU and address of a macvtap and of the interface of a packet socket', async () => {
    const macvtap = await open({
      macvtap: { name: addMacvtap(), netns: netns(), mtu: 1400, mac: '02:00:00:00:00:0d' },
    });
    const packet = await open({
      packet: { name: 'far', netns: netns(), mtu: 4000, mac: '02:00:00:00:00:0e' },
    });
    for (const [nic, mtu, mac] of [
      [macvtap, 1400, '02:00:00:00:00:0d'],
      [packet, 4000, '02:00:00:00:00:0e'],
    ] as const) {
      const { backend, tx } = nic;
      assert.deepEqual([backend.interface.mtu, backend.interface.mac, tx.mtu], [mtu, mac, mtu]);
      assert.deepEqual(told(nic.name), [mtu, mac]);
    }
  });

  it('takes the namespace of a process', async () => {
    const child = spawn('ip', ['netns', 'exec', netns(), 'sh', '-c', 'echo ready && exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      await once(child.stdout, 'data');
      const path = `/proc/${child.pid}/ns/net`;
      const near = await open({ packet: { name: 'near', netns: path } });
      const far = await open({ packet: { name: 'far', netns: path } });
      assert.equal(near.backend.interface.netns, path);
      await cross(near, far, there());
      await open({ tap: { name: 'of-process', netns: path } });
      assert.match(namespace.ip('link', 'show', 'of-process'), /of-process/);
    } finally {
      child.stdin.end();
    }
  });

  it('takes a namespace by path as by name', async () => {
    const nic = await open({ tap: { name: 'by-path', netns: `/run/netns/${netns()}` } });
    assert.match(namespace.ip('link', 'show', nic.name), /by-path/);
  });

  it('adopts a tap that the caller opened, and leaves it open', async () => {
    const { tun, descriptor } = hostKernel();
    const fd = tun.open('/dev/net/tun', `/run/netns/${netns()}`);
    tun.setIff(fd, 'theirs', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    const nic = await open({ fd: { fd, netns: netns() } });
    assert.deepEqual([nic.backend.kind, nic.name], ['tap', 'theirs']);
    await nic.close();
    assert.equal(tun.getIff(fd).name, 'theirs');
    descriptor.close(fd);
  });

  it('adopts a tap of another namespace, which it finds by itself', async () => {
    const { tun, descriptor } = hostKernel();
    const fd = tun.open('/dev/net/tun', `/run/netns/${netns()}`);
    tun.setIff(fd, 'theirs', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    const held = () => resources().descriptors.filter((target) => target.startsWith('net:')).length;
    const nic = await open({ fd });
    assert.equal(held(), 1);
    namespace.bridge('bridge', 'theirs', 'near');
    const far = await open({ packet: { name: 'far', netns: netns() } });
    assert.deepEqual([nic.backend.interface.mtu, nic.backend.interface.mac], told('theirs'));
    await until('both ports of the bridge forward', () => namespace.forwards('bridge'));
    // The bridge keeps frames to an address of its ports.
    await cross(nic, far, new NumberedFrames(600, 'c', 'd'));
    await cross(far, nic, new NumberedFrames(600, 'd', 'c'));
    const lost = once(nic, 'error');
    namespace.ip('link', 'del', 'theirs');
    const [error] = await within('the Nic is told that the tap is gone', lost);
    assert.equal((error as { code: string }).code, 'ERR_VHOST_BACKEND_GONE');
    for (const each of nics.splice(0)) await each.close();
    assert.equal(held(), 0, 'the namespace is let go of too');
    descriptor.close(fd);
  });

  it('adopts a macvtap and a packet socket that the caller opened, and leaves them open', async () => {
    const { tun, packet, netdev, descriptor } = hostKernel();
    const path = `/run/netns/${netns()}`;
    const network = netdev.open(path);
    const name = addMacvtap();
    const index = netdev.getIndex(network, name);
    const macvtap = tun.open(`/dev/tap${index}`);
    tun.setIff(macvtap, name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    const socket = packet.open(path);
    packet.bind(socket, netdev.getIndex(network, 'far'), ETH_P_ALL);
    namespace.ip('link', 'set', name, 'up');

    const near = await open({ fd: { fd: macvtap, netns: netns() } });
    const far = await open({ fd: { fd: socket, netns: netns() } });
    assert.deepEqual([near.backend.kind, near.name], ['macvtap', name]);
    assert.deepEqual([far.backend.kind, far.name, far.backend.alive()], ['packet', 'far', true]);
    await cross(near, far, back());
    await cross(far, near, there());
    for (const nic of nics.splice(0)) await nic.close();
    assert.equal(tun.getIff(macvtap).name, name);
    assert.ok(packet.describe(socket).interfaceIndex > 0);
    for (const fd of [macvtap, socket, network]) descriptor.close(fd);
  });

  it('refuses a descriptor that is no backend, with the reason of each kind', () => {
    const fd = openSync('/dev/null', 'r');
    try {
      assert.throws(
        () => openBackend({ fd }),
        (error: Error & { code: string }) => {
          assert.equal(error.code, 'ERR_VHOST_OUT_OF_RANGE');
          for (const kind of ['not a packet: ', 'not a tap: ', 'not a macvtap: '])
            assert.ok(error.message.includes(kind), error.message);
          return true;
        },
      );
    } finally {
      closeSync(fd);
    }
  });

  it('moves to another backend with frames on the way, and to one of another kind', async () => {
    namespace.ip('link', 'add', 'bridge', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0');
    namespace.ip('link', 'set', 'bridge', 'up');
    const sender = await open({ tap: { name: 'one', netns: netns() } });
    const receiver = await open({ packet: { name: 'far', netns: netns() } });
    const bridge = (port: string) => namespace.ip('link', 'set', port, 'master', 'bridge');
    for (const port of ['one', 'near']) bridge(port);
    const frames = there();
    await cross(sender, receiver, frames, 0);
    await sender.swapBackend({ tap: { name: 'two', netns: netns() } });
    bridge('two');
    assert.equal(sender.name, 'two');
    assert.throws(
      () => namespace.ip('link', 'show', 'one'),
      /does not exist/,
      'the old tap went with its descriptor',
    );
    await cross(sender, receiver, frames, 50);
    namespace.ip('link', 'set', 'near', 'nomaster');
    await sender.swapBackend({ packet: { name: 'near', netns: netns() } });
    assert.equal(sender.backend.headerSize, 0);
    await cross(sender, receiver, frames, 100);
    const { submitted, completed, inFlight } = sender.stats().transmit;
    assert.deepEqual({ submitted, completed, inFlight }, { submitted: 150, completed: 150, inFlight: 0 });
  });

  it('goes on with the old backend where the new one is refused', async () => {
    const near = await open({ packet: { name: 'near', netns: netns() } });
    const far = await open({ packet: { name: 'far', netns: netns() } });
    await assert.rejects(near.swapBackend({ packet: { name: 'nothing', netns: netns() } }), {
      code: 'ENODEV',
    });
    await cross(near, far, there());
  });

  it('keeps frames posted while detached for the backend that comes', async () => {
    const near = await open({ packet: { name: 'near', netns: netns() } });
    const far = await open({ packet: { name: 'far', netns: netns() } });
    await near.detach();
    const frames = there();
    const waiting = near.submit([frames.frame(0), frames.frame(1)]);
    await waiting.accepted;
    assert.equal(near.stats().transmit.inFlight, 2);
    await near.attach();
    assert.deepEqual(await waiting.completed, { completed: 2, abandoned: 0, withdrawn: 0 });
    await cross(near, far, frames, 2);
  });
});
