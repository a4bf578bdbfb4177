import assert from 'node:assert/strict';
import { HEADER_SIZE, type NetHeader, type Nic } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { Flow, run } from '../../support/device-flow.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { DEADLINE } from '../../support/until.js';

/** Bytes of `struct virtio_net_hdr_v1`, as the tests of the ring tier write them. */
const FLAGS = 0;
const GSO_TYPE = 1;
const CSUM_START = 6;
const CSUM_OFFSET = 8;
const NEEDS_CSUM = 1;

interface Bad {
  readonly what: string;
  /** Bytes of frame. */
  readonly length: number;
  readonly header?: NetHeader;
  readonly rule: RegExp;
}

/** Of these the kernel's worker would take the first two kinds again and again, at full load, for ever. */
const bad: readonly Bad[] = [
  { what: 'a frame without bytes', length: 0, rule: /at least 14 bytes .* this has 0$/ },
  { what: 'a frame shorter than an Ethernet header', length: 13, rule: /at least 14 bytes .* this has 13$/ },
  {
    what: 'a checksum that begins beyond the frame',
    length: 60,
    header: { needsChecksum: true, csumStart: 1000, csumOffset: 16 },
    rule: /^header\.csumStart \+ header\.csumOffset \+ 2 must lie in the frame's 60 bytes/,
  },
  {
    what: 'a checksum of which one byte lies beyond the frame',
    length: 60,
    header: { needsChecksum: true, csumStart: 34, csumOffset: 25 },
    rule: /^header\.csumStart \+ header\.csumOffset \+ 2 .* they are 34 \+ 25 \+ 2$/,
  },
  {
    what: 'segment offload without a segment size',
    length: 60,
    header: { gsoType: 'tcpv4' },
    rule: /^header\.gsoSize must be at least 1/,
  },
  {
    what: 'headers longer than the frame',
    length: 60,
    header: { gsoType: 'tcpv4', gsoSize: 1000, headerLength: 61 },
    rule: /^header\.headerLength must be at most the frame's 60 bytes; it is 61$/,
  },
];

describe('a header on which the kernel’s worker would stumble', function () {
  this.timeout(300_000);
  let cable: Cable;
  const frames = new NumberedFrames(60, 'a', 'b');

  beforeEach(async () => {
    cable = await Cable.lay({ queueSize: 16 });
  });
  afterEach(() => cable.remove());

  for (const { what, length, header, rule } of bad)
    it(`${what} is refused by send, trySend and submit before the device sees it`, async () => {
      const { a } = cable;
      const frame = new Uint8Array(length);
      const refusal = { code: 'ERR_VHOST_BAD_HEADER', message: rule };
      const free = a.pool.free;
      await assert.rejects(a.send(frame, header && { header }), refusal);
      assert.throws(() => a.trySend(frame, header), refusal);
      assert.throws(() => a.submit([frame], header && { header }), refusal);
      assert.equal(a.pool.free, free, 'no buffer is lost');
      await goesOn(cable);
    });

  it('among good frames ends their submission there; those before it are sent', async () => {
    const { a } = cable;
    const submission = a.submit([frames.frame(0), frames.frame(1), new Uint8Array(5), frames.frame(3)]);
    await assert.rejects(submission.accepted, { code: 'ERR_VHOST_BAD_HEADER' });
    assert.deepEqual(await submission.completed, { completed: 2, abandoned: 0, withdrawn: 2 });
    const free = a.pool.free;
    assert.equal(free, a.pool.count - a.rx.ledger.inFlight);
    const received: Uint8Array[] = [];
    for await (const batch of cable.b.receive({ signal: AbortSignal.timeout(DEADLINE) })) {
      for (const frame of batch) received.push(Uint8Array.from(frame));
      if (received.length === 2) break;
    }
    for (const [i, frame] of received.entries()) frames.check(i, frame);
    await goesOn(cable, 2);
  });

  describe('is refused by post, the ring tier:', () => {
    for (const [what, spoil, rule] of [
      [
        'a first buffer shorter than the header',
        (nic, buffer) => (nic.pool.length[buffer] = 8),
        /12 bytes of header/,
      ],
      [
        'a header alone',
        (nic, buffer) => (nic.pool.length[buffer] = HEADER_SIZE),
        /at least 14 bytes .* has 0$/,
      ],
      [
        'a frame shorter than an Ethernet header',
        (nic, buffer) => (nic.pool.length[buffer] = HEADER_SIZE + 13),
        /at least 14 bytes .* has 13$/,
      ],
      [
        'a checksum outside the frame',
        ({ pool }, buffer) => {
          const start = pool.offset(buffer);
          pool.bytes[start + FLAGS] = NEEDS_CSUM;
          new DataView(pool.bytes.buffer, pool.bytes.byteOffset).setUint16(start + CSUM_START, 58, true);
          new DataView(pool.bytes.buffer, pool.bytes.byteOffset).setUint16(start + CSUM_OFFSET, 1, true);
        },
        /they are 58 \+ 1 \+ 2$/,
      ],
      [
        'a segment offload that does not exist',
        ({ pool }, buffer) => (pool.bytes[pool.offset(buffer) + GSO_TYPE] = 0x42),
        /0x42 is no gso_type/,
      ],
    ] as const satisfies readonly (readonly [string, (nic: Nic, buffer: number) => void, RegExp])[])
      it(`${what}; the lease stays with the caller`, async () => {
        const { a } = cable;
        const { pool, tx } = a;
        const buffer = pool.lease();
        const start = pool.offset(buffer);
        pool.bytes.fill(0, start, start + HEADER_SIZE);
        frames.write(0, pool.bytes, start + HEADER_SIZE);
        pool.length[buffer] = HEADER_SIZE + frames.length;
        spoil(a, buffer);
        assert.throws(() => tx.post(buffer), { code: 'ERR_VHOST_BAD_HEADER', message: rule });
        assert.equal(pool.isLeased(buffer), true);
        pool.release(buffer);
        assert.throws(() => tx.post(buffer), { code: 'ERR_VHOST_OUT_OF_RANGE', message: /lease it before/ });
        await goesOn(cable);
      });
  });

  it('none of this keeps good headers out: a checksum that ends with the frame is completed', async () => {
    const { a, b } = cable;
    const frame = frames.frame(7);
    frame.fill(0, 14);
    await a.send(frame, { header: { needsChecksum: true, csumStart: 34, csumOffset: 24 } });
    for await (const batch of b.receive({ signal: AbortSignal.timeout(DEADLINE) })) {
      const received = batch.frame(0);
      assert.equal(received.length, 60);
      assert.deepEqual([...received.subarray(58)], [0xff, 0xff], 'the sum over zeroes');
      break;
    }
  });
});

/** The device has seen nothing of what was refused, and carries frames as before. */
async function goesOn({ a, b }: Cable, sent = 0): Promise<void> {
  const { submitted, completed, errors } = a.stats().transmit;
  assert.deepEqual({ submitted, completed, errors }, { submitted: sent, completed: sent, errors: {} });
  assert.equal(a.tx.ring.unpublished, 0);
  await run(new Flow(a, b, new NumberedFrames(60, 'a', 'b'), 200));
}
