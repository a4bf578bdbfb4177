import assert from 'node:assert/strict';
import { release } from 'node:os';
import type { Offload } from '../../../lib/index.js';
import { type Arrival, arrivals } from '../../support/device-arrivals.js';
import { Cable } from '../../support/device-cable.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { defragment, SegmentKind } from '../../support/segment.js';
import { until } from '../../support/until.js';

const [major = 0, minor = 0] = release().split('.').map(Number);
const knowsUso = major > 6 || (major === 6 && minor >= 2);

/** Payload of a frame, and of the pieces in which it is to come where it is cut. */
const PIECE = 1400;
const PIECES = 20;
const PAYLOAD = PIECE * PIECES - 100;

const kinds: readonly (readonly [name: string, SegmentKind, offloads: readonly Offload[]])[] = [
  ['TCP over IPv4 (TSO4)', new SegmentKind(4, 'tcp'), ['csum', 'tso4']],
  ['TCP over IPv6 (TSO6)', new SegmentKind(6, 'tcp'), ['csum', 'tso6']],
  ['UDP over IPv4 (USO4)', new SegmentKind(4, 'udp'), ['csum', 'uso4', 'uso6']],
  ['UDP over IPv6 (USO6)', new SegmentKind(6, 'udp'), ['csum', 'uso4', 'uso6']],
];

describe('segments to be cut', function () {
  this.timeout(120_000);
  let cable: Cable;
  const marks = new NumberedFrames(60, 'a', 'b');

  beforeEach(async () => {
    cable = await Cable.lay({ tap: { offloads: true } });
  });
  afterEach(() => cable.remove());

  /** Sends one frame of a kind; all that comes of it at the far end. */
  async function send(kind: SegmentKind, header = kind.header(PIECE)): Promise<[Uint8Array, Arrival[]]> {
    const frame = kind.segment(kind.headers + PAYLOAD, 'a', 'b');
    const { a, b } = cable;
    const { completed } = a.submit([frame], { header });
    assert.deepEqual(await completed, { completed: 1, abandoned: 0, withdrawn: 0 });
    // What is sent before the mark comes before it.
    await a.send(marks.frame(0));
    const isMark = (each: Arrival | undefined): boolean => each?.frame.length === marks.length;
    const found = await arrivals(b, (all) => isMark(all.at(-1)));
    marks.check(0, found.pop()!.frame);
    return [frame, found];
  }

  for (const [name, kind, offloads] of kinds) {
    if (kind.gsoType === 'udp-l4' && !knowsUso) {
      it(`of ${name} vanish where the kernel does not know them, though they complete`, async () => {
        assert.equal(cable.a.offloads.includes('uso4'), false);
        const [, found] = await send(kind);
        assert.deepEqual(found, []);
        await until('the segment and the mark are done', () => cable.a.stats().transmit.completed === 2);
      });
      continue;
    }

    it(`of ${name} come whole where the far end takes them, their checksum still to be completed`, async () => {
      assert.deepEqual(await cable.b.setOffloads(offloads), offloads);
      const [frame, found] = await send(kind);
      assert.equal(found.length, 1);
      assert.equal(Buffer.compare(found[0]!.frame, frame), 0);
      assert.equal(kind.checksumHolds(found[0]!.frame), false);
      assert.deepEqual(found[0]!.header, { ecn: false, ...kind.header(PIECE) });
    });

    it(`of ${name} come cut where the far end does not take them, each with the right checksum`, async () => {
      for (const wanted of [[], ['csum']] as const) {
        await cable.b.setOffloads(wanted);
        const [frame, found] = await send(kind);
        assert.equal(found.length, PIECES);
        for (const { frame: piece, header } of found) {
          assert.equal(header.gsoType, 'none');
          if (wanted.length === 0) {
            assert.equal(header.needsChecksum, false);
            assert.ok(kind.checksumHolds(piece));
          }
        }
        const payload = kind.reassemble(
          found.map((each) => each.frame),
          PAYLOAD,
        );
        assert.ok(payload);
        assert.equal(Buffer.compare(payload, frame.subarray(kind.headers)), 0);
      }
    });
  }

  it('of UDP over IPv4 by fragmentation (UFO) come as fragments, whatever was agreed, with one right checksum', async () => {
    const kind = new SegmentKind(4, 'udp');
    for (const wanted of [[], ['csum', 'ufo']] as const) {
      // The kernel agrees to UFO and cuts all the same (set_offload() in drivers/net/tun.c).
      assert.deepEqual(await cable.b.setOffloads(wanted), wanted);
      const [frame, found] = await send(kind, kind.header(PIECE, 'udp'));
      assert.equal(found.length, Math.ceil((PAYLOAD + 8) / PIECE));
      for (const { header } of found)
        assert.deepEqual([header.gsoType, header.needsChecksum], ['none', false]);
      const whole = defragment(found.map((each) => each.frame));
      assert.ok(whole);
      assert.ok(kind.checksumHolds(whole));
      assert.equal(Buffer.compare(whole.subarray(kind.headers), frame.subarray(kind.headers)), 0);
    }
  });
});
