import assert from 'node:assert/strict';
import { BAD_CHAIN, DeviceRing, NO_CHAIN, type RingFault } from '../../../lib/vring/device-ring.js';
import { mapOf, parsed } from '../../support/device-on-ring.js';
import { INDIRECT, NEXT, RingInMemory, WRITE } from '../../support/ring-in-memory.js';

/** Inside the first region, and where it ends and the second begins. */
const INSIDE = 0x10_0000;
const BORDER = 0x10_1000;
const NOWHERE = 0x18_0000;

describe('DeviceRing', () => {
  it('is a round: take, use, publish, call', () => {
    const ring = new RingInMemory(4);
    const { device } = ring;
    assert.equal(device.take(), NO_CHAIN);
    ring.describe(3, INSIDE, 12, NEXT, 1);
    ring.describe(1, INSIDE + 64, 100, NEXT | WRITE, 2);
    ring.describe(2, INSIDE + 256, 50, WRITE);
    ring.offer(3);
    assert.equal(device.take(), 3);
    assert.deepEqual(parsed(device, 3).segments, [
      { gpa: BigInt(INSIDE), length: 12, writable: false },
      { gpa: BigInt(INSIDE + 64), length: 100, writable: true },
      { gpa: BigInt(INSIDE + 256), length: 50, writable: true },
    ]);
    assert.deepEqual([device.readable, device.readableBytes, device.writableBytes], [1, 12, 150]);
    assert.equal(device.take(), NO_CHAIN);
    device.use(3, 77);
    assert.equal(ring.usedIndex, 0, 'nothing shows before publish');
    assert.equal(device.publish(), 1);
    assert.deepEqual([ring.usedIndex, ring.used(0)], [1, [3, 77]]);
    assert.equal(device.wantsCall(), true);
    assert.equal(device.wantsCall(), false, 'one call for one publish');
    assert.equal(device.publish(), 0);
  });

  it('splits what lies across two regions, and what lies across no border stays whole', () => {
    const ring = new RingInMemory(4);
    ring.describe(0, BORDER - 10, 30);
    ring.offer(0);
    assert.equal(ring.device.take(), 0);
    assert.deepEqual(parsed(ring.device, 0).segments, [
      { gpa: BigInt(BORDER - 10), length: 10, writable: false },
      { gpa: BigInt(BORDER), length: 20, writable: false },
    ]);
    assert.deepEqual([...ring.device.places.subarray(0, 2)], [0, 1]);
  });

  it('reads indirect tables off their alignment and across two regions', () => {
    const ring = new RingInMemory(2);
    const { device } = ring;
    ring.describe(0, INSIDE, 60, NEXT, 1, 6);
    ring.describe(1, INSIDE + 100, 40, 0, 0, 6);
    ring.describe(0, INSIDE + 6, 32, INDIRECT);
    ring.offer(0);
    assert.equal(device.take(), 0);
    assert.deepEqual([device.segments, device.readableBytes], [2, 100]);
    // The last four bytes, which say flags and next, are in the other region and 0: the end of the chain.
    ring.describe(1, BORDER - 12, 16, INDIRECT);
    const first = new DataView(ring.regions[0]!.buffer);
    first.setBigUint64(4096 - 12, BigInt(INSIDE), true);
    first.setUint32(4096 - 4, 5, true);
    new DataView(ring.regions[1]!.buffer).setUint16(0, WRITE, true);
    ring.offer(1);
    assert.equal(device.take(), 1);
    assert.deepEqual([device.segments, device.writableBytes], [1, 5]);
  });

  it('goes on behind an indirect table, and takes a longer table than the ring, as vhost does', () => {
    const ring = new RingInMemory(2);
    for (let i = 0; i < 100; i++) ring.describe(i, INSIDE, 1, i < 99 ? NEXT : 0, i + 1, 0);
    ring.describe(0, INSIDE, 1600, INDIRECT | NEXT, 1);
    ring.describe(1, INSIDE, 7, WRITE);
    ring.offer(0);
    assert.equal(ring.device.take(), 0);
    assert.deepEqual([ring.device.readableBytes, ring.device.writableBytes], [100, 7]);
  });

  it('takes descriptors of no bytes for nothing, as vhost does', () => {
    const ring = new RingInMemory(4);
    ring.describe(0, NOWHERE, 0, NEXT, 1);
    ring.describe(1, INSIDE, 9);
    ring.offer(0);
    assert.equal(ring.device.take(), 0);
    assert.deepEqual([ring.device.segments, ring.device.readableBytes], [1, 9]);
  });

  describe('finds what cannot be, leaves it where it was, and goes on once it is mended:', () => {
    const bad: Readonly<Record<string, [RingFault, (ring: RingInMemory) => void]>> = {
      'an index further ahead than the ring is long': ['index', (ring) => (ring.availableIndex = 5)],
      'an index that goes back': ['index', (ring) => (ring.availableIndex = 0xffff)],
      'a head that the ring does not have': ['head', (ring) => ring.offer(4)],
      'a next that the ring does not have': [
        'next',
        (ring) => {
          ring.describe(0, INSIDE, 1, NEXT, 4);
          ring.offer(0);
        },
      ],
      'a chain that comes back to itself': [
        'loop',
        (ring) => {
          ring.describe(0, INSIDE, 1, NEXT, 1);
          ring.describe(1, INSIDE, 1, NEXT, 0);
          ring.offer(0);
        },
      ],
      'a table whose chain comes back': [
        'loop',
        (ring) => {
          ring.describe(0, INSIDE, 1, NEXT, 0, 0);
          ring.describe(0, INSIDE, 16, INDIRECT);
          ring.offer(0);
        },
      ],
      'a next that the table does not have': [
        'next',
        (ring) => {
          ring.describe(0, INSIDE, 1, NEXT, 1, 0);
          ring.describe(0, INSIDE, 16, INDIRECT);
          ring.offer(0);
        },
      ],
      'a table in a table': [
        'nested-table',
        (ring) => {
          ring.describe(0, INSIDE, 16, INDIRECT, 0, 0);
          ring.describe(0, INSIDE, 16, INDIRECT);
          ring.offer(0);
        },
      ],
      'a table of no descriptor': ['table-length', (ring) => tableOf(ring, 0)],
      'a table of a descriptor and a half': ['table-length', (ring) => tableOf(ring, 24)],
      'a table of more than 65,536 descriptors': ['table-length', (ring) => tableOf(ring, 16 * 65_537)],
      'a table outside the memory': [
        'address',
        (ring) => {
          ring.describe(0, NOWHERE, 16, INDIRECT);
          ring.offer(0);
        },
      ],
      'a table that ends outside the memory': [
        'address',
        (ring) => {
          ring.describe(0, 0x10_2000 - 8, 16, INDIRECT);
          ring.offer(0);
        },
      ],
      'to be read after to be written': [
        'order',
        (ring) => {
          ring.describe(0, INSIDE, 1, NEXT | WRITE, 1);
          ring.describe(1, INSIDE, 1);
          ring.offer(0);
        },
      ],
      'an address outside the memory': [
        'address',
        (ring) => {
          ring.describe(0, NOWHERE, 1);
          ring.offer(0);
        },
      ],
      'a buffer that ends outside the memory': [
        'address',
        (ring) => {
          ring.describe(0, 0x10_2000 - 1, 2, WRITE);
          ring.offer(0);
        },
      ],
      'a buffer that goes round the end of all addresses': [
        'address',
        (ring) => {
          ring.describe(0, INSIDE, 1);
          new DataView(ring.regions[2]!.buffer).setBigUint64(0, 2n ** 64n - 1n, true);
          ring.offer(0);
        },
      ],
      'more pieces than the kernel takes': [
        'segments',
        (ring) => {
          // 256 descriptors a table, each across a border and so of two pieces, in a chain of several tables.
          for (let i = 0; i < 200; i++) ring.describe(i, BORDER - 1, 2, i < 199 ? NEXT : 0, i + 1, 0);
          for (let i = 0; i < 3; i++) ring.describe(i, INSIDE, 3200, INDIRECT | (i < 2 ? NEXT : 0), i + 1);
          ring.offer(0);
        },
      ],
    };

    function tableOf(ring: RingInMemory, bytes: number): void {
      ring.describe(0, INSIDE, bytes, INDIRECT);
      ring.offer(0);
    }

    for (const [what, [fault, write]] of Object.entries(bad))
      it(`${what}: ${fault}`, () => {
        const ring = new RingInMemory(4);
        const { device } = ring;
        write(ring);
        for (let i = 0; i < 2; i++) {
          assert.equal(device.take(), BAD_CHAIN);
          assert.equal(device.fault, fault);
          assert.equal(device.base, 0, 'the chain is not taken');
        }
        ring.describe(1, INSIDE, 60);
        ring.availableIndex = 0;
        ring.offer(1);
        assert.equal(device.take(), 1);
        assert.equal(device.fault, undefined);
      });

    it('1,088 pieces are taken', () => {
      const ring = new RingInMemory(4);
      for (let i = 0; i < 136; i++) ring.describe(i, BORDER - 1, 2, i < 135 ? NEXT : 0, i + 1, 0);
      for (let i = 0; i < 4; i++) ring.describe(i, INSIDE, 136 * 16, INDIRECT | (i < 3 ? NEXT : 0), i + 1);
      ring.offer(0);
      assert.equal(ring.device.take(), 0);
      assert.equal(ring.device.segments, 1088);
    });
  });

  it('gives chains back and takes them again', () => {
    const ring = new RingInMemory(4, { base: 0xfffe });
    ring.availableIndex = 0xfffe;
    for (const id of [0, 1, 2, 3]) ring.describe(id, INSIDE, 1 + id);
    ring.offer(2, 0, 3, 1);
    const take = (): number[] => [ring.device.take(), ring.device.take(), ring.device.take()];
    assert.deepEqual(take(), [2, 0, 3]);
    assert.equal(ring.device.base, 1);
    ring.device.discard(3);
    assert.equal(ring.device.base, 0xfffe);
    assert.deepEqual(take(), [2, 0, 3]);
    assert.equal(ring.device.take(), 1);
    assert.equal(ring.device.take(), NO_CHAIN);
  });

  it('parses the chain of a head again, whatever was taken since', () => {
    const ring = new RingInMemory(4);
    ring.describe(0, INSIDE, 10, WRITE);
    ring.describe(1, INSIDE + 100, 20, WRITE);
    ring.offer(0, 1);
    ring.device.take();
    ring.device.take();
    assert.equal(ring.device.parse(0), true);
    assert.deepEqual(parsed(ring.device, 0).segments, [{ gpa: BigInt(INSIDE), length: 10, writable: true }]);
    assert.equal(ring.device.base, 2);
  });

  it('asks for kicks and for none, and tells of chains that came before it asked', () => {
    for (const eventIdx of [false, true]) {
      const ring = new RingInMemory(4, { eventIdx });
      const { device } = ring;
      device.disableKicks();
      assert.equal(ring.usedFlags, eventIdx ? 0 : 1);
      assert.equal(device.enableKicks(), false);
      assert.deepEqual([ring.usedFlags, ring.availEvent], [0, 0]);
      ring.describe(0, INSIDE, 1);
      ring.offer(0);
      assert.equal(device.enableKicks(), true);
      device.take();
      assert.equal(device.enableKicks(), false);
      assert.equal(ring.availEvent, eventIdx ? 1 : 0);
    }
  });

  it('calls as the driver asks, the first time in any case, and always for an empty ring where that is agreed', () => {
    const use = (ring: RingInMemory): boolean => {
      ring.offer(0);
      ring.device.use(ring.device.take(), 0);
      ring.device.publish();
      return ring.device.wantsCall();
    };
    const quiet = (ring: RingInMemory): RingInMemory => {
      ring.describe(0, INSIDE, 1);
      ring.availableFlags = 1;
      ring.usedEvent = 3;
      return ring;
    };
    const flags = quiet(new RingInMemory(4));
    assert.equal(use(flags), false);
    flags.availableFlags = 0;
    assert.equal(use(flags), true);
    const events = quiet(new RingInMemory(4, { eventIdx: true }));
    assert.deepEqual([use(events), use(events), use(events), use(events)], [true, false, false, true]);
    const empty = quiet(new RingInMemory(4, { notifyOnEmpty: true }));
    assert.equal(use(empty), true);
    empty.offer(0, 0);
    empty.device.use(empty.device.take(), 0);
    empty.device.publish();
    assert.equal(empty.device.wantsCall(), false, 'one more is there to be taken');
  });

  it('shows chains in the order in which they became available, where that is agreed', () => {
    const ring = new RingInMemory(4, { inOrder: true, base: 0xffff });
    ring.availableIndex = 0xffff;
    ring.usedIndex = 0xffff;
    const device = new DeviceRing({
      parts: ring.parts,
      size: 4,
      memory: mapOf(...ring.regions),
      inOrder: true,
      base: 0xffff,
    });
    for (const id of [0, 1, 2, 3]) ring.describe(id, INSIDE, 8, WRITE);
    ring.offer(3, 1, 2, 0);
    for (let i = 0; i < 4; i++) device.take();
    device.use(1, 5);
    device.use(2, 6);
    assert.equal(device.publish(), 0);
    device.discard(1);
    device.use(3, 0);
    assert.equal(device.publish(), 3);
    assert.deepEqual(
      [ring.used(3), ring.used(0), ring.used(1)],
      [
        [3, 0],
        [1, 5],
        [2, 6],
      ],
    );
    assert.equal(ring.usedIndex, 2);
    assert.equal(device.take(), 0);
    device.use(0, 1);
    assert.equal(device.publish(), 1);
  });

  it('goes on at the used index that is in the memory', () => {
    const ring = new RingInMemory(4);
    ring.usedIndex = 0xffff;
    const device = new DeviceRing({ parts: ring.parts, size: 4, memory: mapOf(...ring.regions) });
    ring.describe(2, INSIDE, 1);
    ring.offer(2);
    device.use(device.take(), 0);
    device.publish();
    assert.deepEqual([ring.usedIndex, ring.used(0xffff)], [0, [2, 0]]);
  });

  it('goes on in other memory, to which the ring was moved', () => {
    const [ring, other] = [new RingInMemory(4), new RingInMemory(4)];
    ring.describe(1, INSIDE, 1);
    ring.offer(1);
    ring.device.use(ring.device.take(), 0);
    ring.device.publish();
    other.regions[2]!.bytes.set(ring.regions[2]!.bytes);
    ring.device.move(other.parts);
    other.offer(1);
    ring.device.use(ring.device.take(), 0);
    ring.device.publish();
    assert.deepEqual([ring.usedIndex, other.usedIndex], [1, 2]);
  });

  it('tells of what it writes to the used ring, round its end too', () => {
    const ring = new RingInMemory(4, { eventIdx: true });
    const { device } = ring;
    const writes: [number, number][] = [];
    device.usedAddress = 0x5000;
    device.log = (address, length) => writes.push([address - 0x5000, length]);
    for (const id of [0, 1, 2, 3]) ring.describe(id, INSIDE, 1);
    const use = (count: number): void => {
      for (let i = 0; i < count; i++) {
        ring.offer(i);
        device.use(device.take(), 0);
      }
      device.publish();
    };
    use(3);
    use(2);
    device.enableKicks();
    assert.deepEqual(writes, [
      [4, 24],
      [2, 2],
      [28, 8],
      [4, 8],
      [2, 2],
      [36, 2],
    ]);
  });
});
