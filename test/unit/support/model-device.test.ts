import assert from 'node:assert/strict';
import { DriverFault, ModelDevice, type ModelDeviceOptions } from '../../support/model-device.js';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const base = 0x8000_0000n;

/** A driver that writes what it is told, right or wrong, into a ring at its own offsets. */
class Driver {
  readonly size: number;
  readonly view = new DataView(new ArrayBuffer(1 << 16));
  readonly options: ModelDeviceOptions;
  index: number;

  constructor(size: number, eventIdx = false, start = 0) {
    this.size = size;
    this.index = start;
    this.options = {
      buffer: this.view.buffer,
      descriptorTable: 0x100,
      availableRing: 0x1000,
      usedRing: 0x2000,
      size,
      eventIdx,
      base: start,
      translate: (gpa) => Number(gpa - base),
    };
    this.view.setUint16(0x1002, start, true);
    this.view.setUint16(0x2002, start, true);
  }

  descriptor(index: number, gpa: bigint, length: number, flags = 0, next = 0, table = 0x100): void {
    const at = table + 16 * index;
    this.view.setBigUint64(at, gpa, true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  offer(...heads: number[]): void {
    for (const head of heads) {
      this.view.setUint16(0x1004 + 2 * (this.index % this.size), head, true);
      this.index = (this.index + 1) & 0xffff;
    }
    this.view.setUint16(0x1002, this.index, true);
  }

  used(slot: number): [number, number] {
    const at = 0x2004 + 8 * (slot % this.size);
    return [this.view.getUint32(at, true), this.view.getUint32(at + 4, true)];
  }

  set usedEvent(index: number) {
    this.view.setUint16(0x1004 + 2 * this.size, index, true);
  }

  get availEvent(): number {
    return this.view.getUint16(0x2004 + 8 * this.size, true);
  }
}

describe('model device: chains', () => {
  it('takes what is available, in order, and nothing else', () => {
    const driver = new Driver(8);
    const device = new ModelDevice(driver.options);
    assert.equal(device.available(), 0);
    assert.equal(device.take(), undefined);
    driver.descriptor(5, base + 7n, 60);
    driver.descriptor(2, base + 9n, 100, WRITE);
    driver.offer(5, 2);
    assert.equal(device.available(), 2);
    assert.deepEqual(device.take(), { head: 5, segments: [{ gpa: base + 7n, length: 60, writable: false }] });
    assert.deepEqual(device.take(), { head: 2, segments: [{ gpa: base + 9n, length: 100, writable: true }] });
    assert.deepEqual(device.heldHeads, [5, 2]);
    assert.equal(device.availableIndex, 2);
  });

  it('follows next, and an indirect table', () => {
    const driver = new Driver(4);
    const device = new ModelDevice(driver.options);
    driver.descriptor(3, 1n, 10, NEXT, 0);
    driver.descriptor(0, 2n, 20, NEXT | WRITE, 2);
    driver.descriptor(2, 3n, 30, WRITE);
    driver.descriptor(1, base + 0x4000n, 32, INDIRECT);
    driver.descriptor(0, 0xffff_ffff_ffff_fff0n, 5, NEXT, 1, 0x4000);
    driver.descriptor(1, 6n, 0xffff_ffff, WRITE, 0, 0x4000);
    driver.offer(3, 1);
    assert.deepEqual(
      device.takeAll().map(({ segments }) => segments.map(({ gpa, length }) => [gpa, length])),
      [
        [
          [1n, 10],
          [2n, 20],
          [3n, 30],
        ],
        [
          [0xffff_ffff_ffff_fff0n, 5],
          [6n, 0xffff_ffff],
        ],
      ],
    );
  });

  it('goes on past index 65535', () => {
    const driver = new Driver(4, false, 0xfffe);
    const device = new ModelDevice(driver.options);
    driver.offer(0, 1, 2, 3);
    for (const { head } of device.takeAll()) device.complete(head, 0);
    assert.equal(device.publish(), 4);
    assert.equal(device.usedIndex, 2);
    assert.deepEqual(
      [0xfffe, 0xffff, 0, 1].map((slot) => driver.used(slot)[0]),
      [0, 1, 2, 3],
    );
  });

  for (const [rule, arrange] of Object.entries<(driver: Driver) => void>({
    'a head beyond the ring': (driver) => driver.offer(8),
    'an index too far ahead': (driver) => driver.offer(0, 1, 2, 3, 4, 5, 6, 7, 0),
    'a head offered twice': (driver) => driver.offer(1, 1),
    'a next beyond the table': (driver) => {
      driver.descriptor(0, 0n, 1, NEXT, 8);
      driver.offer(0);
    },
    'a loop': (driver) => {
      driver.descriptor(0, 0n, 1, NEXT, 1);
      driver.descriptor(1, 0n, 1, NEXT, 0);
      driver.offer(0);
    },
    'something to read after something to write': (driver) => {
      driver.descriptor(0, 0n, 1, NEXT | WRITE, 1);
      driver.descriptor(1, 0n, 1);
      driver.offer(0);
    },
    'indirect and continued': (driver) => {
      driver.descriptor(0, base, 16, INDIRECT | NEXT, 1);
      driver.offer(0);
    },
    'an indirect table of no whole descriptors': (driver) => {
      driver.descriptor(0, base, 24, INDIRECT);
      driver.offer(0);
    },
    'an empty indirect table': (driver) => {
      driver.descriptor(0, base, 0, INDIRECT);
      driver.offer(0);
    },
    'a table within a table': (driver) => {
      driver.descriptor(0, base + 0x4000n, 16, INDIRECT);
      driver.descriptor(0, base, 16, INDIRECT, 0, 0x4000);
      driver.offer(0);
    },
    'a table from within a chain': (driver) => {
      driver.descriptor(0, 0n, 1, NEXT, 1);
      driver.descriptor(1, base, 16, INDIRECT);
      driver.offer(0);
    },
  }))
    it(`blames the driver for ${rule}`, () => {
      const driver = new Driver(8);
      arrange(driver);
      assert.throws(() => new ModelDevice(driver.options).takeAll(), DriverFault);
    });
});

describe('model device: completions', () => {
  function held(eventIdx = false): { driver: Driver; device: ModelDevice } {
    const driver = new Driver(8, eventIdx);
    for (let head = 0; head < 8; head++) driver.descriptor(head, 0n, 100, WRITE);
    driver.offer(0, 1, 2, 3, 4, 5, 6, 7);
    const device = new ModelDevice(driver.options);
    device.takeAll();
    return { driver, device };
  }

  it('in any order, of any length that fits, shown by publish() only', () => {
    const { driver, device } = held();
    device.complete(6, 100);
    device.complete(1, 0);
    assert.equal(device.usedIndex, 0);
    assert.equal(device.publish(), 2);
    assert.equal(device.usedIndex, 2);
    assert.deepEqual(
      [driver.used(0), driver.used(1)],
      [
        [6, 100],
        [1, 0],
      ],
    );
    device.use(0, 7);
    assert.deepEqual(driver.used(2), [0, 7]);
    assert.deepEqual(device.heldHeads, [2, 3, 4, 5, 7]);
  });

  it('only of what it holds, unless it is to lie', () => {
    const { device } = held();
    device.use(3, 0);
    assert.throws(() => device.complete(3, 0), /does not hold head 3/);
    assert.throws(() => device.complete(4, 101), /do not fit/);
  });

  it('a head may be offered again once it is completed', () => {
    const { driver, device } = held();
    device.use(3, 0);
    driver.offer(3);
    assert.equal(device.take()?.head, 3);
  });

  it('lies when asked to', () => {
    const { driver, device } = held();
    device.lieOutOfRange();
    device.lieTooLong(2, 50);
    device.lieTwice(5, 9);
    device.lieNotInFlight(5);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((slot) => driver.used(slot)),
      [
        [8, 0],
        [2, 150],
        [5, 9],
        [5, 9],
        [5, 0],
      ],
    );
    assert.equal(device.usedIndex, 5);
    device.lieIndexJump(-2);
    assert.equal(device.usedIndex, 3);
    device.lieIndexJump(100);
    assert.equal(device.usedIndex, 103);
    assert.throws(() => device.lieNotInFlight(0), /no lie/);
  });
});

describe('model device: notifications', () => {
  it('flags: calls unless the driver asks for none; asks for kicks or not', () => {
    const driver = new Driver(8);
    driver.offer(0, 1);
    const device = new ModelDevice(driver.options);
    device.takeAll();
    assert.equal(device.shouldCall(), false, 'nothing was published');
    device.use(0, 0);
    assert.equal(device.shouldCall(), true);
    assert.equal(device.shouldCall(), false, 'once for what was published');
    driver.view.setUint16(0x1000, 1, true);
    device.use(1, 0);
    assert.equal(device.shouldCall(), false);
    assert.equal(device.wantsKick(1, 2), true);
    assert.equal(device.wantsKick(2, 2), false);
    device.suppressKicks(true);
    assert.equal(driver.view.getUint16(0x2000, true), 1);
    assert.equal(device.wantsKick(1, 2), false);
    device.suppressKicks(false);
    assert.equal(device.wantsKick(1, 2), true);
    assert.throws(() => device.setAvailEvent(0));
  });

  it('EVENT_IDX: calls when used_event is passed, across the wrap too', () => {
    const driver = new Driver(4, true, 0xffff);
    driver.offer(0, 1, 2);
    const device = new ModelDevice(driver.options);
    device.takeAll();
    driver.usedEvent = 0;
    device.use(0, 0);
    assert.equal(device.shouldCall(), false, 'index 65535 was passed, not 0');
    device.complete(1, 0);
    device.complete(2, 0);
    device.publish();
    assert.equal(device.shouldCall(), true);
  });

  it('EVENT_IDX: wants a kick when avail_event is passed, and no others', () => {
    const driver = new Driver(8, true, 0xfff0);
    const device = new ModelDevice(driver.options);
    device.setAvailEvent(0xfff2);
    assert.equal(driver.availEvent, 0xfff2);
    assert.equal(device.wantsKick(0xfff0, 0xfff2), false);
    assert.equal(device.wantsKick(0xfff0, 0xfff3), true);
    device.setAvailEvent(1);
    assert.equal(device.wantsKick(0xfffe, 1), false);
    assert.equal(device.wantsKick(0xfffe, 2), true, 'past 65535');
    device.setAvailEvent(0xfff2);
    device.suppressKicks(true);
    assert.equal(device.wantsKick(0xfff0, 0xfff8), false);
    device.suppressKicks(false);
    assert.equal(device.wantsKick(0xfff0, 0xfff1), true);
  });

  it('EVENT_IDX: counts one by one to what vring_need_event() of the headers computes', () => {
    const device = new ModelDevice(new Driver(8, true).options);
    for (const from of [0, 1, 0x7fff, 0xfffa, 0xffff])
      for (let steps = 0; steps <= 8; steps++)
        for (let around = -12; around <= 12; around++) {
          const to = (from + steps) & 0xffff;
          const event = (from + around) & 0xffff;
          device.setAvailEvent(event);
          const needed = ((to - event - 1) & 0xffff) < ((to - from) & 0xffff);
          assert.equal(device.wantsKick(from, to), needed, `${from} to ${to}, event ${event}`);
        }
  });
});
