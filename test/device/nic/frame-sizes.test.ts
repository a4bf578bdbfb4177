import assert from 'node:assert/strict';
import { formatMac } from '../../../lib/backend/network-interface.js';
import { Nic } from '../../../lib/index.js';
import { arrivals } from '../../support/device-arrivals.js';
import { Cable } from '../../support/device-cable.js';
import { Namespace, type TapNicOptions } from '../../support/device-namespace.js';
import { ADDRESS, type End, NumberedFrames } from '../../support/numbered-frames.js';
import { SegmentKind, TCP } from '../../support/segment.js';
import { onKernel } from '../../support/test-device.js';

const COUNT = 100;
const ENDS = [
  ['a', 'b'],
  ['b', 'a'],
] as const satisfies readonly (readonly [End, End])[];

describe('frames', function () {
  this.timeout(300_000);
  let cable: Cable | undefined;

  async function lay(options?: TapNicOptions, optionsOfB?: TapNicOptions): Promise<Cable> {
    cable = await Cable.lay(options, optionsOfB);
    return cable;
  }
  afterEach(async () => {
    await cable?.remove();
    cable = undefined;
  });

  for (const [length, mtu] of [
    [14, 1500],
    [60, 1500],
    [1514, 1500],
    [9014, 9000],
  ] as const)
    it(`of ${length} bytes arrive whole, both ways`, async () => {
      const ends = await lay({ tap: { mtu } });
      for (const [from, to] of ENDS)
        await exchange(ends[from], ends[to], new NumberedFrames(length, from, to));
    });

  it('of 9014 bytes arrive whole in buffers that hold one each', async () => {
    const ends = await lay({ tap: { mtu: 9000 }, bufferSize: 9216 });
    for (const [from, to] of ENDS) await exchange(ends[from], ends[to], new NumberedFrames(9014, from, to));
  });

  it('of every length from one buffer to two arrive whole', async () => {
    const { a, b } = await lay({ tap: { mtu: 9000 }, bufferSize: 256 });
    for (let length = 230; length < 280; length++) {
      const frame = new NumberedFrames(length, 'a', 'b').frame(length);
      await a.send(frame);
      const [arrival] = await arrivals(b, (all) => all.length === 1);
      assert.deepEqual(arrival!.frame, frame);
    }
  });

  it('are refused where they are longer than the MTU and its link header allow', async () => {
    const { a } = await lay();
    const longest = 1500 + 18;
    assert.equal(a.trySend(new Uint8Array(longest)), true);
    await assert.rejects(a.send(new Uint8Array(longest + 1)), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: 'a frame without segment offload has at most the MTU 1500 + 18 bytes; this has 1519',
    });
  });

  describe('with segment offload', () => {
    for (const length of [9014, 65_000, 65_535])
      it(`of ${length} bytes arrive in one piece, both ways, where the other end takes segments`, async () => {
        const ends = await lay({ tap: { offloads: true } });
        for (const [from, to] of ENDS) {
          const frame = TCP.segment(length, from, to);
          const sent = ends[from].submit([frame], { header: TCP.header(1448) });
          const [arrival] = await arrivals(ends[to], (all) => all.length === 1);
          assert.deepEqual(await sent.completed, { completed: 1, abandoned: 0, withdrawn: 0 });
          assert.deepEqual(arrival!.header, { ecn: false, ...TCP.header(1448) });
          assert.ok(arrival!.frame.length > ends[to].pool.bufferSize, 'it lay in several buffers');
          assert.equal(Buffer.compare(arrival!.frame, frame), 0);
        }
      });

    // The network stack cuts what reaches an interface's gso_max_size, 65,536 bytes with the link header
    // (gso_features_check()), whatever that interface could take.
    for (const length of [65_536, 65_549])
      it(`of ${length} bytes are taken, and cut by the network stack`, async () => {
        const ends = await lay({ tap: { offloads: true } });
        for (const [from, to] of ENDS) await cut(ends[from], ends[to], TCP.segment(length, from, to));
      });

    // A tap's gso_max_size cannot be raised (its tso_max_size); a veth's can, and a macvtap's on it. Over IPv6, since an IPv4
    // packet has 65,535 bytes at most.
    onKernel(() => {
      it('of 65,550 bytes arrive in one piece, both ways, where the interfaces let them pass', async () => {
        const namespace = Namespace.add();
        const nics = new Map<End, Nic>();
        try {
          namespace.ip('link', 'add', 'lower-a', 'type', 'veth', 'peer', 'name', 'lower-b');
          for (const end of ['a', 'b'] as const) {
            const [lower, name] = [`lower-${end}`, `size-${end}`];
            namespace.ip('link', 'set', lower, 'gso_max_size', '131072', 'up');
            namespace.ip('link', 'add', 'link', lower, 'name', name, 'type', 'macvtap', 'mode', 'bridge');
            namespace.ip('link', 'set', name, 'gso_max_size', '131072');
            const mac = formatMac(ADDRESS[end]);
            nics.set(end, await Nic.open({ macvtap: { name, netns: namespace.name, mac, offloads: true } }));
          }
          const kind = new SegmentKind(6, 'tcp');
          for (const [from, to] of ENDS) {
            const [sender, receiver] = [nics.get(from)!, nics.get(to)!];
            const frame = kind.segment(65_550, from, to);
            const sent = sender.submit([frame], { header: kind.header(1428) });
            const [arrival] = await arrivals(receiver, (all) => all.length === 1);
            assert.deepEqual(await sent.completed, { completed: 1, abandoned: 0, withdrawn: 0 });
            assert.deepEqual(arrival!.header, { ecn: false, ...kind.header(1428) });
            assert.equal(Buffer.compare(arrival!.frame, frame), 0);
          }
        } finally {
          for (const nic of nics.values()) await nic.close();
          await namespace.remove();
        }
      });
    });

    it('are cut, with their checksums complete, for an end that takes no segments', async () => {
      const { a, b } = await lay({ tap: { offloads: true } }, { tap: { offloads: false } });
      const segments = await cut(a, b, TCP.segment(65_549, 'a', 'b'));
      for (const { frame, header } of segments) {
        assert.equal(header.needsChecksum, false);
        assert.ok(TCP.checksumHolds(frame));
      }
    });

    it('of more than 65,550 bytes are refused', async () => {
      const { a } = await lay({ tap: { offloads: true } });
      await assert.rejects(a.send(TCP.segment(65_551, 'a', 'b'), { header: TCP.header(1448) }), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: 'a frame with segment offload has at most 65550 bytes; this has 65551',
      });
    });

    it('keep coming, several buffers each, among ordinary ones', async () => {
      const { a, b } = await lay({ tap: { offloads: true } });
      const small = new NumberedFrames(60, 'a', 'b');
      const sent: Uint8Array[] = [];
      const received = arrivals(b, (all) => all.length === 200);
      for (let i = 0; i < 100; i++) {
        const large = TCP.segment(2000 + 600 * i, 'a', 'b');
        await a.send(large, { header: TCP.header(1448) });
        await a.send(small.frame(i));
        sent.push(large, small.frame(i));
      }
      for (const [i, { frame }] of (await received).entries())
        assert.equal(Buffer.compare(frame, sent[i]!), 0, `frame ${i}`);
      assert.equal(b.stats().receive.frames, 200);
      assert.ok(b.stats().receive.completed > 200, 'buffers are more than frames');
    });
  });
});

async function exchange(from: Nic, to: Nic, frames: NumberedFrames): Promise<void> {
  const all = Array.from({ length: COUNT }, (_, i) => frames.frame(i));
  const received = arrivals(to, (soFar) => soFar.length === COUNT);
  const submission = from.submit(all);
  await submission.accepted;
  for (const [i, { frame, header }] of (await received).entries()) {
    frames.check(i, frame);
    assert.equal(header.gsoType, 'none');
  }
  assert.deepEqual(await submission.completed, { completed: COUNT, abandoned: 0, withdrawn: 0 });
}

async function cut(from: Nic, to: Nic, frame: Uint8Array): ReturnType<typeof arrivals> {
  const payload = frame.subarray(TCP.headers);
  const submission = from.submit([frame], { header: TCP.header(1448) });
  const segments = await arrivals(
    to,
    (all) => all.reduce((bytes, each) => bytes + each.frame.length - TCP.headers, 0) >= payload.length,
  );
  assert.deepEqual(await submission.completed, { completed: 1, abandoned: 0, withdrawn: 0 });
  assert.equal(segments.length, Math.ceil(payload.length / 1448));
  for (const { header } of segments) assert.equal(header.gsoType, 'none');
  const whole = TCP.reassemble(
    segments.map((each) => each.frame),
    payload.length,
  );
  assert.ok(whole);
  assert.equal(Buffer.compare(whole, payload), 0);
  return segments;
}
