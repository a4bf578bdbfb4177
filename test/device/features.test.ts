import assert from 'node:assert/strict';
import { hostKernel, KernelVhost } from '../../lib/index.js';
import { refusalOf } from '../support/control-device.js';
import { Cable } from '../support/device-cable.js';
import { Flow, run } from '../support/device-flow.js';
import { Namespace } from '../support/device-namespace.js';
import { NumberedFrames } from '../support/numbered-frames.js';
import { RawEnd } from '../support/raw-end.js';

const RX = 0;
const TX = 1;
const bits = {
  VIRTIO_NET_F_MRG_RXBUF: 15,
  VIRTIO_F_NOTIFY_ON_EMPTY: 24,
  VHOST_F_LOG_ALL: 26,
  VHOST_NET_F_VIRTIO_NET_HDR: 27,
  VIRTIO_RING_F_INDIRECT_DESC: 28,
  VIRTIO_RING_F_EVENT_IDX: 29,
  VIRTIO_F_VERSION_1: 32,
  VIRTIO_F_ACCESS_PLATFORM: 33,
} as const;
const bit = (name: keyof typeof bits): bigint => 1n << BigInt(bits[name]);
const IN_ORDER = 1n << 35n;
const RING_RESET = 1n << 40n;
const RING_PACKED = 1n << 34n;
const LEGACY_HEADER = 10;
const HEADER = 12;

const frames = new NumberedFrames(60, 'a', 'b');

describe('features of the ring and of the transport', function () {
  this.timeout(300_000);
  const offered = KernelVhost.capabilities().features;
  let namespace: Namespace;
  let ends: RawEnd[];

  beforeEach(() => {
    namespace = Namespace.add();
    ends = [];
  });
  afterEach(async () => {
    for (const end of ends) end.close();
    await namespace.remove();
  });

  /** Two ends of a cable that were given the same features. */
  function lay(features: bigint, headerSize: number): [RawEnd, RawEnd] {
    for (const name of ['raw-a', 'raw-b']) ends.push(new RawEnd(namespace, name, features, headerSize));
    namespace.bridge('raw', 'raw-a', 'raw-b');
    return ends as [RawEnd, RawEnd];
  }

  /** Sends a frame and compares what comes; where its header says so, in one buffer. */
  async function crosses(a: RawEnd, b: RawEnd, number: number, ...cuts: number[]): Promise<Uint8Array> {
    const headerSize = hostKernel().tun.getVnetHdrSz(a.backend.fd);
    const whole = Buffer.concat([new Uint8Array(headerSize), frames.frame(number)]);
    const edges = [0, ...cuts, whole.length];
    b.postBuffer();
    await a.send(...edges.slice(1).map((end, i) => whole.subarray(edges[i], end)));
    const bytes = await b.received();
    frames.check(number, bytes.subarray(headerSize));
    return bytes.subarray(0, headerSize);
  }

  it('are agreed on where they are offered, and refused where they are not', () => {
    const vhost = KernelVhost.open();
    try {
      for (let number = 0; number < 64; number++) {
        const feature = 1n << BigInt(number);
        const answer = refusalOf(() => vhost.setFeatures(feature));
        const expected = (offered & feature) === 0n ? 'EOPNOTSUPP VHOST_SET_FEATURES' : 'accepted';
        assert.equal(answer, expected, `bit ${number}`);
      }
      for (const number of Object.values(bits)) assert.notEqual(offered & (1n << BigInt(number)), 0n);
      assert.equal(offered & RING_PACKED, 0n);
    } finally {
      vhost.close();
    }
  });

  it('VIRTIO_F_VERSION_1: a header of 12 bytes that tells how many buffers a frame took', async () => {
    const [a, b] = lay(bit('VIRTIO_F_VERSION_1') | bit('VIRTIO_NET_F_MRG_RXBUF'), HEADER);
    for (let i = 0; i < 20; i++) assert.equal((await crosses(a, b, i))[10], 1);
  });

  it('legacy: a header of 10 bytes, and of 12 with VIRTIO_NET_F_MRG_RXBUF', async () => {
    const [a, b] = lay(0n, LEGACY_HEADER);
    for (let i = 0; i < 20; i++) assert.equal((await crosses(a, b, i)).length, LEGACY_HEADER);
    for (const end of ends.splice(0)) end.close();
    namespace.ip('link', 'del', 'raw');
    const [c, d] = lay(bit('VIRTIO_NET_F_MRG_RXBUF'), HEADER);
    for (let i = 0; i < 20; i++) assert.equal((await crosses(c, d, i))[10], 1);
  });

  it('legacy: a Nic refuses a device without VIRTIO_F_VERSION_1, and leaves nothing open', async () => {
    const vhost = KernelVhost.open();
    vhost.getFeatures = () => offered & ~bit('VIRTIO_F_VERSION_1');
    await assert.rejects(namespace.nic('tap-l', { vhost }), {
      code: 'ERR_VHOST_UNSUPPORTED',
      message: /^the device does not offer VIRTIO_F_VERSION_1; it offers 0x/,
    });
    assert.throws(() => vhost.fd, { code: 'ERR_VHOST_CLOSED' });
    assert.throws(() => namespace.ip('link', 'show', 'tap-l'), /does not exist/);
  });

  it('VIRTIO_F_ANY_LAYOUT: header and frame in any pieces, legacy or not, without a bit of its own', async () => {
    for (const [features, headerSize] of [
      [0n, LEGACY_HEADER],
      [bit('VIRTIO_F_VERSION_1'), HEADER],
    ] as const) {
      const [a, b] = lay(features, headerSize);
      let number = 0;
      for (const cuts of [[headerSize], [4], [4, headerSize + 20], [1, 2, 3, 70]])
        await crosses(a, b, number++, ...cuts);
      for (const end of ends.splice(0)) end.close();
      namespace.ip('link', 'del', 'raw');
    }
  });

  it('VIRTIO_F_NOTIFY_ON_EMPTY: a call when the ring runs empty, though calls are not wanted', async () => {
    const { eventfd } = hostKernel();
    for (const feature of [0n, bit('VIRTIO_F_NOTIFY_ON_EMPTY')]) {
      const [a, b] = lay(feature, LEGACY_HEADER);
      a.rings[TX]!.disableCalls();
      eventfd.take(a.calls[TX]!);
      // The device is done with the first, its call included, when it is done with the second.
      for (const number of [0, 1]) await crosses(a, b, number);
      assert.equal(eventfd.take(a.calls[TX]!) > 0, feature !== 0n);
      for (const end of ends.splice(0)) end.close();
      namespace.ip('link', 'del', 'raw');
    }
  });

  it('VIRTIO_F_RING_RESET: one queue begins anew on another ring, while the other runs', async () => {
    const features = bit('VIRTIO_F_VERSION_1') | bit('VIRTIO_RING_F_EVENT_IDX') | (offered & RING_RESET);
    const [a, b] = lay(features, HEADER);
    for (let i = 0; i < 20; i++) await crosses(a, b, i);
    for (const [page, size] of [
      [2, 32],
      [3, 4],
      [1, 16],
    ] as const) {
      a.stop(TX);
      // The queue that runs takes frames while the other is being reset.
      await crosses(b, a, 100);
      a.start(TX, page * 4096, size);
      assert.equal(a.vhost.getVringBase(TX), 0);
      for (let i = 0; i < 40; i++) await crosses(a, b, i);
    }
    b.stop(RX);
    b.start(RX, 4 * 4096, 8);
    for (let i = 0; i < 20; i++) await crosses(a, b, i);
  });

  it('VIRTIO_F_IN_ORDER: agreed on where it is offered, and else refused by name', async () => {
    const options = { inOrder: true, queueSize: 64 };
    if ((offered & IN_ORDER) === 0n) {
      await assert.rejects(namespace.nic('tap-a', options), {
        code: 'ERR_VHOST_UNSUPPORTED',
        message: /^the device does not offer VIRTIO_F_IN_ORDER; it offers 0x/,
      });
      return;
    }
    const { a, b } = await Cable.lay(options, options, namespace);
    await run(new Flow(a, b, frames, 20_000), new Flow(b, a, new NumberedFrames(60, 'b', 'a'), 20_000));
  });
});
