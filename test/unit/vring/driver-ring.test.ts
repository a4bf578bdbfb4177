import assert from 'node:assert/strict';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { DriverRing, type DriverRingOptions } from '../../../lib/vring/driver-ring.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { attachModel, makeRing } from '../../support/ring-and-model.js';

describe('DriverRing', () => {
  it('is a round: post, publish, kick; later reap', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);

    const read = ring.post(0, 0x10_0000, 60, false);
    const write = ring.post(0x7f, 0xffff_f000, 2048, true);
    assert.equal(ring.unpublished, 2);
    assert.equal(device.available(), 0, 'nothing is seen before it is published');
    assert.equal(ring.publish(), true, 'the device asked for kicks');
    assert.deepEqual(device.takeAll(), [
      { head: read, segments: [{ gpa: 0x10_0000n, length: 60, writable: false }] },
      { head: write, segments: [{ gpa: 0x7f_ffff_f000n, length: 2048, writable: true }] },
    ]);

    device.use(write, 1514);
    device.use(read, 0);
    assert.equal(ring.reapable, 2);
    assert.equal(ring.reap(), 2);
    assert.deepEqual([...ring.heads.subarray(0, 2)], [write, read], 'in the order of their return');
    assert.deepEqual([...ring.lengths.subarray(0, 2)], [1514, 0]);
    assert.equal(ring.free, 8);
  });

  it('reads an unwritten length as none where the device could only read', () => {
    const { ring } = makeRing({ size: 2 });
    const device = attachModel(ring, false);
    const head = ring.post(0, 0x1000, 60, false);
    ring.publish();
    device.take();
    // vhost-net says 0; other devices say what they like.
    device.lieTooLong(head, 60);
    assert.equal(ring.reap(), 1);
    assert.equal(ring.lengths[0], 0);
  });

  it('publishes nothing twice', () => {
    const { ring } = makeRing({ size: 4 });
    ring.post(0, 0, 1, false);
    assert.equal(ring.publish(), true);
    assert.equal(ring.publish(), false);
    assert.equal(ring.kicksSuppressed, 0, 'there was nothing to suppress');
  });

  it('counts the kicks that the device did not want', () => {
    const { ring } = makeRing({ size: 4 });
    const device = attachModel(ring, false);
    device.suppressKicks(true);
    ring.post(0, 0, 1, false);
    assert.equal(ring.publish(), false);
    assert.equal(ring.kicksSuppressed, 1);
  });

  it('tells that the device waits for more than it has, where it can say so', () => {
    for (const eventIdx of [false, true]) {
      const { ring } = makeRing({ size: 4, eventIdx });
      const device = attachModel(ring, eventIdx);
      for (let i = 0; i < 2; i++) ring.post(0, 0, 100, true);
      ring.publish();
      device.suppressKicks(false);
      assert.deepEqual([ring.wantsMore, ring.untaken], [eventIdx, 2]);
      ring.forgetKick();
      assert.equal(ring.wantsMore, false);
      device.suppressKicks(false);
      for (const { head } of device.takeAll()) device.use(head, 100);
      assert.deepEqual([ring.wantsMore, ring.untaken], [false, 0], 'it has none at all');
      ring.reap();
      ring.post(0, 0, 100, true);
      assert.equal(ring.untaken, 0, 'what it was not shown it does not have');
      assert.equal(ring.publish(), true, 'it is told of the next');
      assert.deepEqual([ring.wantsMore, ring.untaken], [false, 1]);
    }
  });

  it('does not take chains that a device lost for chains that it has', () => {
    const { ring } = makeRing({ size: 4, eventIdx: true });
    const lost = attachModel(ring, true);
    for (let i = 0; i < 2; i++) ring.post(0, 0, 100, true);
    ring.publish();
    lost.takeAll();
    assert.equal(ring.reclaim(lost.availableIndex), 2);
    const device = attachModel(ring, true);
    ring.post(0, 0, 100, true);
    ring.publish();
    device.suppressKicks(false);
    assert.equal(ring.wantsMore, true);
    device.use(device.take()!.head, 100);
    assert.equal(ring.wantsMore, false, 'every one of its chains is used');
  });

  it('takes no chain that is longer than the ring, and none for which there is no room now', () => {
    const { ring } = makeRing({ size: 4 });
    for (const count of [0, -1, 5])
      assert.throws(() => ring.begin(count), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: `count must be from 1 to 4; received ${count}`,
      });
    ring.post(0, 0, 1, false);
    assert.equal(ring.begin(4), false);
    assert.equal(ring.begin(3), true);
  });

  it('takes a chain longer than the ring through an indirect table', () => {
    const { ring } = makeRing({ size: 2, indirect: 8 });
    const device = attachModel(ring, false);
    assert.equal(ring.begin(8), true);
    for (let i = 0; i < 8; i++) ring.add(0, 4096 * i, 100 + i, i >= 5);
    const head = ring.end();
    ring.publish();
    assert.equal(ring.free, 1, 'a table takes one descriptor');
    assert.deepEqual(
      device.take()!.segments.map(({ length, writable }) => [length, writable]),
      [100, 101, 102, 103, 104, 105, 106, 107].map((length, i) => [length, i >= 5]),
    );
    device.use(head, 105 + 106 + 107);
    assert.throws(() => ring.begin(9), { message: 'count must be from 1 to 8; received 9' });
    assert.equal(ring.reap(), 1);
    assert.equal(ring.lengths[0], 318);
  });

  it('refuses a chain that is not as it was begun', () => {
    const { ring } = makeRing({ size: 8 });
    assert.throws(() => ring.end(), { code: 'ERR_VHOST_OUT_OF_RANGE' }, 'none was begun');
    ring.begin(2);
    ring.add(0, 0, 1, false);
    assert.throws(() => ring.end(), { code: 'ERR_VHOST_OUT_OF_RANGE' }, 'too few');
    ring.add(0, 0, 1, false);
    assert.throws(() => ring.add(0, 0, 1, false), { code: 'ERR_VHOST_OUT_OF_RANGE' }, 'too many');
    assert.equal(ring.inFlight, 0);
  });

  it('refuses readable descriptors after writable ones (VIRTIO 1.3 §2.7.4.2)', () => {
    const { ring } = makeRing({ size: 8 });
    ring.begin(3);
    ring.add(0, 0, 1, false);
    ring.add(0, 0, 1, true);
    assert.throws(() => ring.add(0, 0, 1, false), {
      message: 'writable must be true after the first writable descriptor of a chain; received false',
    });
  });

  it('takes no chain of 2^31 bytes or more', () => {
    const { ring } = makeRing({ size: 8 });
    const tooLong = {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /at most 2147483647 bytes; received 2147483648/,
    };
    for (const writable of [false, true]) {
      assert.throws(() => ring.post(0, 0, 2 ** 31, writable), tooLong);
      ring.begin(2);
      ring.add(0, 0, 2 ** 31 - 1, writable);
      ring.add(0, 0, 1, writable);
      assert.throws(() => ring.end(), tooLong);
    }
    assert.deepEqual([ring.inFlight, ring.free], [0, 8]);
    assert.notEqual(ring.post(0, 0, 2 ** 31 - 1, true), -1);
  });

  it('forgets a chain that is begun and not ended before the next', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    ring.begin(3);
    ring.add(0, 0x1000, 1, false);
    ring.post(0, 0x2000, 2, false);
    assert.throws(() => ring.end(), { code: 'ERR_VHOST_OUT_OF_RANGE' });
    ring.publish();
    assert.deepEqual(
      device.takeAll().map(({ segments }) => segments),
      [[{ gpa: 0x2000n, length: 2, writable: false }]],
    );
  });

  it('forgets it also where every descriptor was added', () => {
    const { ring } = makeRing({ size: 8 });
    ring.begin(2);
    ring.add(0, 0, 1, false);
    ring.add(0, 0, 1, false);
    ring.post(0, 0x2000, 2, false);
    assert.throws(() => ring.end(), { code: 'ERR_VHOST_OUT_OF_RANGE' });
    assert.equal(ring.inFlight, 1);
  });

  it('spends no indirect table on a chain of one', () => {
    const { ring, region } = makeRing({ size: 8, indirect: 4 });
    ring.begin(1);
    ring.add(0, 0x1000, 60, true);
    const head = ring.end();
    const descriptor = new DataView(region.buffer, ring.offset + 16 * head, 16);
    assert.equal(descriptor.getUint32(8, true), 60);
    assert.equal(descriptor.getUint16(12, true), 2, 'VRING_DESC_F_WRITE, and not VRING_DESC_F_INDIRECT');
  });

  it('takes no more than the limit, and the rest the next time', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    for (let i = 0; i < 5; i++) ring.post(0, 0, 10, true);
    ring.publish();
    for (const { head } of device.takeAll()) device.use(head, 1);
    assert.equal(ring.reap(0), 0);
    assert.equal(ring.reap(3), 3);
    assert.equal(ring.reapable, 2);
    assert.equal(ring.reap(3), 2);
    assert.equal(ring.reap(3), 0);
  });

  it('takes no more once what it took carries so many bytes, written or only read', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    const fewRead = ring.post(0, 0, 10, false);
    ring.begin(2);
    ring.add(0, 0, 1000, false);
    ring.add(0, 0, 1000, true);
    const both = ring.end();
    const written = ring.post(0, 0, 1000, true);
    ring.publish();
    device.takeAll();
    for (const [head, length] of [
      [fewRead, 0],
      [both, 5],
      [written, 2],
    ] as const)
      device.use(head, length);
    assert.equal(ring.reap(8, 11), 2, 'ten bytes that were read, and five that were written');
    assert.equal(ring.reap(8, 0), 0);
    assert.equal(ring.reap(8, 1), 1);
    assert.deepEqual([...ring.lengths.subarray(0, 1)], [2]);
  });

  it('takes only a limit that is a number of chains', () => {
    const { ring } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    ring.post(0, 0, 10, true);
    ring.publish();
    device.use(device.take()!.head, 1);
    for (const limit of [-1, 1.5, Number.NaN])
      assert.throws(() => ring.reap(limit), { code: 'ERR_VHOST_OUT_OF_RANGE', message: /^limit must be/ });
    assert.equal(ring.reap(), 1, 'and has lost nothing by it');
  });

  it('tells where a chain came back before calls were asked for', () => {
    for (const eventIdx of [false, true]) {
      const { ring } = makeRing({ size: 8, eventIdx, base: 65_535 });
      const device = attachModel(ring, eventIdx);
      ring.disableCalls();
      for (let i = 0; i < 3; i++) ring.post(0, 0, 10, true);
      ring.publish();
      const heads = device.takeAll().map(({ head }) => head);
      assert.equal(ring.enableCalls(), false);
      ring.disableCalls();
      device.use(heads[0]!, 0);
      assert.equal(device.shouldCall(), false);
      assert.equal(ring.enableCalls(), true, 'no call would come for what is there');
      assert.equal(ring.enableCalls(2), false);
      device.use(heads[1]!, 0);
      assert.equal(device.shouldCall(), true);
    }
  });

  it('has the device call within so many chains, and no later than it was asked to before', () => {
    const { ring } = makeRing({ size: 8, eventIdx: true, base: 65_533 });
    const device = attachModel(ring, true);
    for (let i = 0; i < 8; i++) ring.post(0, 0, 100, true);
    ring.publish();
    const heads = device.takeAll().map(({ head }) => head);
    /** Which of so many chains made the device call. */
    const calls = (count: number): number[] =>
      heads.splice(0, count).flatMap((head, i) => {
        device.use(head, 100);
        return device.shouldCall() ? [i] : [];
      });
    ring.disableCalls();
    assert.equal(ring.callWithin(3), false);
    assert.equal(ring.callWithin(5), false);
    assert.deepEqual(calls(5), [2]);
    ring.reap();
    ring.enableCalls();
    assert.equal(ring.callWithin(3), false);
    assert.deepEqual(calls(3), [0]);
  });

  it('begins at its base, near the end of the indexes too', () => {
    const { ring, region } = makeRing({ size: 4, base: 65_534 });
    const words = new Uint16Array(region.buffer, ring.offset + ring.layout.availableRing, 2);
    assert.equal(words[1], 65_534);
    assert.equal(ring.base, 65_534);
    for (let i = 0; i < 4; i++) ring.post(0, 0, 1, false);
    ring.publish();
    assert.equal(words[1], 2);
    assert.equal(ring.base, 65_534, 'the first chain in flight is where a device begins');
  });

  it('needs a place that is aligned and long enough', () => {
    const memory = new GuestMemory(new FakeKernel());
    const region = memory.addRegion({ size: 8192 });
    const make = (options: Partial<DriverRingOptions>) => () =>
      new DriverRing({ region, offset: 0, size: 4, ...options });
    assert.throws(make({ offset: 8 }), { message: /^offset must be a multiple of 16/ });
    assert.throws(make({ offset: -16 }), { message: /^offset must be/ });
    assert.throws(make({ offset: 8192 - 16 }), {
      message: /^offset must be such that 128 bytes of ring lie/,
    });
    assert.throws(make({ size: 5 }), { message: 'size must be a power of two; received 5' });
    assert.throws(make({ base: 65_536 }), { code: 'ERR_VHOST_OUT_OF_RANGE', message: /^base must be/ });
    assert.throws(make({ indirect: { offset: 8192 - 16, entries: 4 } }), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /^indirect\.offset must be/,
    });
  });

  it('does not believe what the device writes over the available ring and the table', () => {
    const { ring, region } = makeRing({ size: 8 });
    const device = attachModel(ring, false);
    ring.begin(3);
    for (let i = 0; i < 3; i++) ring.add(0, 0, 1, false);
    const head = ring.end();
    ring.publish();
    device.take();
    device.use(head, 0);
    // All that the driver wrote is gone; the chain still has three descriptors.
    region.bytes.fill(0xff, ring.offset, ring.offset + ring.layout.availableRing);
    assert.equal(ring.reap(), 1);
    assert.equal(ring.free, 8);
  });

  it('keeps its own when a device leaves with chains, and gives each back once', () => {
    const { ring } = makeRing({ size: 8, base: 65_533 });
    const device = attachModel(ring, false);
    const heads = [0, 1, 2, 3].map(() => ring.post(0, 0, 1, false));
    ring.publish();
    device.takeAll();
    device.use(heads[2]!, 0);
    assert.equal(ring.reap(), 1);
    assert.equal(ring.reclaim(), 3);
    assert.deepEqual(
      [...ring.heads.subarray(0, 3)].sort((a, b) => a - b),
      [heads[0]!, heads[1]!, heads[3]!].sort((a, b) => a - b),
    );
    assert.equal(ring.reclaim(), 0);
    assert.equal(ring.reap(), 0);
    assert.equal(ring.free, 8);
  });
});
