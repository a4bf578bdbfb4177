import assert from 'node:assert/strict';
import { FramePool, freeFrame, handFrame, takeBuffer } from '../../../lib/memory/frame-pool.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { property, runs } from '../../support/random.js';

function makePool(bufferSize: number, count: number, guestPhysicalAddress = 0x10_0000): FramePool {
  const memory = new GuestMemory(new FakeKernel());
  memory.addRegion({ size: bufferSize * count + 4096, guestPhysicalAddress });
  memory.allocate(100);
  return new FramePool(memory, bufferSize, count);
}

describe('FramePool', () => {
  it('leases every buffer once, and then none', () => {
    const pool = makePool(2048, 4);
    assert.deepEqual([pool.lease(), pool.lease(), pool.lease(), pool.lease()], [0, 1, 2, 3]);
    assert.equal(pool.free, 0);
    assert.equal(pool.lease(), -1);
    pool.release(2);
    assert.equal(pool.lease(), 2);
  });

  it('keeps its buffers on cache lines and apart', () => {
    const pool = makePool(100, 3);
    assert.equal(pool.bufferSize, 128);
    for (let buffer = 0; buffer < 3; buffer++) {
      assert.equal(pool.offset(buffer) % 64, 0);
      assert.equal(pool.offset(buffer), pool.base + 128 * buffer);
      assert.equal(
        pool.addressHigh * 2 ** 32 + pool.address(buffer),
        pool.region.guestPhysicalAddress + pool.offset(buffer),
      );
      pool.bytes.fill(buffer + 1, pool.offset(buffer), pool.offset(buffer) + pool.bufferSize);
    }
    for (let buffer = 0; buffer < 3; buffer++) {
      const bytes = pool.bytes.subarray(pool.offset(buffer), pool.offset(buffer) + 128);
      assert.ok(bytes.every((byte) => byte === buffer + 1));
    }
  });

  it('lies anywhere in 64 bits, but across no multiple of 4 GiB', () => {
    const pool = makePool(2048, 4, 5 * 2 ** 32);
    assert.equal(pool.addressHigh, 5);
    assert.equal(pool.address(1), pool.base + 2048);
    assert.throws(() => makePool(2048, 4, 2 ** 32 - 4096), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /^guestPhysicalAddress must be such that the pool crosses no multiple of 4 GiB/,
    });
    // The last byte before 4 GiB is on this side.
    const memory = new GuestMemory(new FakeKernel());
    memory.addRegion({ size: 4096, guestPhysicalAddress: 2 ** 32 - 4096 });
    assert.equal(new FramePool(memory, 2048, 2).addressHigh, 0);
  });

  it('refuses whatever is not due, and changes nothing', () => {
    const pool = makePool(64, 4);
    const leased = pool.lease();
    const posted = pool.lease();
    handFrame(pool, posted);
    const freed = pool.lease();
    pool.release(freed);
    const refused: [string, () => void][] = [
      [`buffer ${freed} must be leased; it is free`, () => pool.release(freed)],
      [`buffer ${freed} must be leased; it is free`, () => handFrame(pool, freed)],
      [`buffer ${freed} must be posted; it is free`, () => takeBuffer(pool, freed)],
      [`buffer ${posted} must be leased; it is posted to a device`, () => pool.release(posted)],
      [`buffer ${posted} must be leased; it is posted to a device`, () => handFrame(pool, posted)],
      [`buffer ${leased} must be posted; it is leased`, () => takeBuffer(pool, leased)],
      ...[4, -1, 1.5, Number.NaN].flatMap((foreign): [string, () => void][] => [
        [`buffer ${foreign} must be leased; it is none of this pool`, () => pool.release(foreign)],
        [`buffer ${foreign} must be leased; it is none of this pool`, () => handFrame(pool, foreign)],
        [`buffer ${foreign} must be posted; it is none of this pool`, () => takeBuffer(pool, foreign)],
      ]),
    ];
    for (const [message, misuse] of refused) {
      assert.throws(misuse, { name: 'VhostError [ERR_VHOST_NOT_LEASED]', message });
      assert.equal(pool.free, 2);
      assert.deepEqual(
        [0, 1, 2, 3].map((buffer) => pool.isLeased(buffer)),
        [0, 1, 2, 3].map((buffer) => buffer === leased),
      );
    }
    assert.deepEqual(new Set([pool.lease(), pool.lease(), pool.lease()]), new Set([freed, 3, -1]));
  });

  it('gives a frame back with all that is linked to it', () => {
    const pool = makePool(64, 5);
    const [first, second, third, alone] = [pool.lease(), pool.lease(), pool.lease(), pool.lease()];
    pool.next[first] = second;
    pool.next[second] = third;
    pool.releaseFrame(first);
    assert.equal(pool.free, 4);
    assert.ok(pool.isLeased(alone));
    assert.deepEqual([...pool.next], [-1, -1, -1, -1, -1], 'a buffer is leased without the links it had');
  });

  it('frees a frame that comes back as it was handed over, whatever was linked meanwhile', () => {
    const pool = makePool(64, 5);
    const [first, second, third, other] = [pool.lease(), pool.lease(), pool.lease(), pool.lease()];
    pool.next[first] = second;
    pool.next[second] = third;
    handFrame(pool, first);
    pool.next[first] = other;
    pool.next[second] = 77;
    pool.next[third] = first;
    freeFrame(pool, first);
    assert.equal(pool.free, 4);
    assert.ok(pool.isLeased(other));
    assert.deepEqual([...pool.next], [-1, -1, -1, -1, -1]);
    assert.throws(() => freeFrame(pool, first), { code: 'ERR_VHOST_NOT_LEASED' });
  });

  it('gives one buffer back, whatever it is linked to', () => {
    const pool = makePool(64, 3);
    const [first, second] = [pool.lease(), pool.lease()];
    pool.next[first] = second;
    pool.release(first);
    assert.ok(pool.isLeased(second));
    assert.equal(pool.next[first], -1);
  });

  it('checks its size', () => {
    assert.throws(() => makePool(63, 4), { message: /^bufferSize must be a whole number from 64/ });
    assert.throws(() => makePool(64, 0), { message: /^count must be a whole number from 1/ });
    const memory = new GuestMemory(new FakeKernel());
    memory.addRegion({ size: 4096 });
    assert.throws(() => new FramePool(memory, 64, 65), {
      message: /^size must be no more than a region has/,
    });
  });

  it('lends nothing once its memory is closed, and takes back what is out', () => {
    const memory = new GuestMemory(new FakeKernel());
    memory.addRegion({ size: 4096 });
    const pool = new FramePool(memory, 64, 3);
    const [leased, released] = [pool.lease(), pool.lease()];
    pool.release(released);
    memory.close();
    const closed = { code: 'ERR_VHOST_CLOSED', message: 'the buffer pool, or its memory, is closed' };
    assert.throws(() => pool.lease(), closed);
    assert.equal(pool.free, 2);
    pool.release(leased);
    assert.equal(pool.free, 3);
    assert.throws(() => pool.release(leased), { code: 'ERR_VHOST_NOT_LEASED' });
    assert.throws(() => pool.lease(), closed);
    pool.close();
  });

  property('free + leased + posted = count, whatever is done with it', (random) => {
    const count = 32;
    const pool = makePool(64, count);
    // The state of each buffer, as a plain list.
    const states = new Array<'free' | 'leased' | 'posted'>(count).fill('free');
    const number = (state: string): number => states.filter((each) => each === state).length;
    const steps = {
      release: { from: 'leased', to: 'free', act: (buffer: number) => pool.release(buffer) },
      hand: { from: 'leased', to: 'posted', act: (buffer: number) => handFrame(pool, buffer) },
      take: { from: 'posted', to: 'leased', act: (buffer: number) => takeBuffer(pool, buffer) },
      free: { from: 'posted', to: 'free', act: (buffer: number) => freeFrame(pool, buffer) },
    } as const;
    for (let i = runs(20_000); i > 0; i--) {
      if (random.oneIn(2)) {
        const buffer = pool.lease();
        if (number('free') === 0) assert.equal(buffer, -1);
        else {
          assert.equal(states[buffer], 'free', 'nothing is leased twice');
          states[buffer] = 'leased';
        }
      } else {
        const { from, to, act } = steps[random.pick(['release', 'hand', 'take', 'free'] as const)];
        const buffer = random.below(count);
        if (states[buffer] === from) {
          act(buffer);
          states[buffer] = to;
        } else assert.throws(() => act(buffer), { code: 'ERR_VHOST_NOT_LEASED' });
      }
      assert.equal(pool.free, number('free'));
      assert.equal(pool.free + number('leased') + number('posted'), pool.count);
      const buffer = random.below(count);
      assert.equal(pool.isLeased(buffer), states[buffer] === 'leased');
    }
  });
});
