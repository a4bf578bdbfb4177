import assert from 'node:assert/strict';
import { DriverRing } from '../../../lib/vring/driver-ring.js';
import { RingJournal } from '../../../lib/vring/ring-journal.js';
import type { ModelDevice } from '../../support/model-device.js';
import { property, runs } from '../../support/random.js';
import { attachModel, makeRing } from '../../support/ring-and-model.js';

const SIZE = 8;

/** A ring whose device returns chains in order, with receive buffers of 100 bytes posted to it. */
function ringOf(posted: number, base = 0): { ring: DriverRing; device: ModelDevice; order: number[] } {
  const { ring, region } = makeRing({ size: SIZE, inOrder: true, base });
  const order = Array.from({ length: posted }, () => ring.post(0, region.guestPhysicalAddress, 100, true));
  ring.publish();
  return { ring, device: attachModel(ring, false), order };
}

describe('DriverRing: VIRTIO_F_IN_ORDER (VIRTIO 1.3 §2.7.9 In-order use of descriptors)', () => {
  it('takes one element for all chains up to the one that it names; those before it are full', () => {
    const { ring, device, order } = ringOf(5);
    for (const { head } of device.takeAll().slice(0, 3)) device.complete(head, head === order[2] ? 42 : 100);
    device.publishInOrder();
    assert.equal(ring.reapable, 3);
    assert.equal(ring.reap(), 3);
    assert.deepEqual([...ring.heads.subarray(0, 3)], order.slice(0, 3));
    assert.deepEqual([...ring.lengths.subarray(0, 3)], [100, 100, 42]);
    assert.deepEqual([ring.inFlight, ring.free], [2, SIZE - 2]);
  });

  it('keeps no journal, which would not tell which chains came back', () => {
    const { ring } = makeRing({ size: 4 });
    const { region, offset, size } = ring;
    assert.throws(
      () => new DriverRing({ region, offset, size, inOrder: true, journal: RingJournal.own(size) }),
      {
        message: /^inOrder must be false with a journal/,
      },
    );
  });

  it('cuts such a batch at a limit, and goes on in it', () => {
    const { ring, device, order } = ringOf(5);
    for (const { head } of device.takeAll()) device.complete(head, 7);
    device.publishInOrder();
    const seen: number[] = [];
    for (const limit of [2, 1, 5]) {
      const count = ring.reap(limit);
      seen.push(...ring.heads.subarray(0, count));
    }
    assert.deepEqual(seen, order);
    assert.equal(ring.lengths[1], 7);
    assert.equal(ring.reap(), 0);
  });

  it('believes no head that is not among as many of the oldest as the index says', () => {
    // Newer than the index has come, of no ring, and, once reaped, not in flight.
    for (const lie of [3, SIZE, 0xffff_ffff]) {
      const { ring, device, order } = ringOf(4);
      device.use(device.take()!.head, 1);
      assert.equal(ring.reap(), 1);
      device.lieOutOfRange(lie === 3 ? order[3]! : lie);
      assert.equal(ring.reap(), 0);
      assert.equal(ring.corruption?.code, 'ERR_VHOST_RING_CORRUPT');
      assert.match(
        ring.corruption!.message,
        /^the device returned head \d+, which is none of the 1 oldest in /,
      );
      assert.equal(ring.reclaim(), 3);
    }
    const { ring, device } = ringOf(1);
    device.takeAll();
    device.lieTooLong(0);
    assert.equal(ring.reap(), 0);
    assert.match(ring.corruption!.message, /wrote 101 bytes into the 100 of head 0/);
  });

  it('goes on at the next index after a device took chains and never returned them', () => {
    const { ring, device, order } = ringOf(6);
    for (const _ of [0, 1, 2, 3]) device.take();
    device.complete(order[0]!, 1);
    device.publishInOrder();
    assert.equal(ring.reap(), 1);
    assert.equal(ring.lost(4), 3);
    assert.equal(ring.reclaim(4), 3);
    const next = attachModel(ring, false);
    for (const { head } of next.takeAll()) next.complete(head, 9);
    next.publishInOrder();
    assert.equal(ring.reap(), 2);
    assert.deepEqual([...ring.heads.subarray(0, 2)], order.slice(4));
  });

  it('finds out a device that goes on behind a chain which it put back, as Linux before 6.18 does', () => {
    const { ring, device, order } = ringOf(4);
    device.use(device.take()!.head, 1);
    assert.equal(ring.reap(), 1);
    // Taken, and put back since the backend has no room; the next one is then taken in its place.
    device.take();
    device.lieOutOfRange(order[2]!);
    assert.equal(ring.reap(), 0);
    assert.match(ring.corruption!.message, /^the device returned head 2, which is none of the 1 oldest in /);
    assert.equal(ring.reclaim(), 3, 'every chain is accounted for');
  });

  property('returns every chain once and in order, however they are batched and reaped', (random) => {
    const { ring, region } = makeRing({ size: SIZE, inOrder: true, base: random.below(65_536) });
    let device = attachModel(ring, false);
    const posted: { head: number; writable: number }[] = [];
    let staged: number[] = [];
    const used: { head: number; length: number }[] = [];
    for (let step = 0; step < runs(20_000); step++) {
      const choice = random.below(10);
      if (choice < 4) {
        const writable = random.pick([0, 100]);
        const head = ring.post(0, region.guestPhysicalAddress, 100, writable > 0);
        if (head !== -1) posted.push({ head, writable });
        if (random.oneIn(2)) ring.publish();
      } else if (choice < 7) {
        const chain = device.take();
        if (chain !== undefined) {
          const { writable } = posted[used.length + staged.length]!;
          const length = random.below(writable + 1);
          device.complete(chain.head, length);
          staged.push(length);
        }
        if (random.oneIn(2)) {
          device.publishInOrder();
          for (const [i, length] of staged.entries()) {
            const { head, writable } = posted[used.length]!;
            used.push({ head, length: i + 1 < staged.length ? writable : length });
          }
          staged = [];
        }
      } else if (choice < 9) {
        const count = ring.reap(random.below(SIZE + 1));
        const expected = used.splice(0, count);
        posted.splice(0, count);
        assert.deepEqual(
          expected.map(({ head }) => head),
          [...ring.heads.subarray(0, count)],
        );
        assert.deepEqual(
          expected.map(({ length }) => length),
          [...ring.lengths.subarray(0, count)],
        );
      } else if (staged.length === 0) {
        while (ring.reap() > 0);
        posted.splice(0, used.splice(0).length);
        const at = device.availableIndex;
        assert.equal(ring.reclaim(at), 0, 'what was taken was returned');
        device = attachModel(ring, false);
      }
      assert.equal(ring.corruption, undefined);
      assert.equal(ring.inFlight, posted.length);
      assert.equal(ring.free, SIZE - posted.length);
    }
  });
});
