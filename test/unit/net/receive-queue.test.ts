import assert from 'node:assert/strict';
import { HEADER_SIZE, readNumBuffers } from '../../../lib/net/header.js';
import { checkPool, numberedFrame, ReceiveOnModel } from '../../support/queue-on-model.js';
import { property, type Random, runs } from '../../support/random.js';

describe('ReceiveQueue', () => {
  it('is a round: refill, reap, release', () => {
    const world = new ReceiveOnModel({ size: 4 });
    const { queue, device } = world;
    assert.equal(queue.refill(), 4);
    assert.equal(world.kicks, 1);
    assert.equal(queue.kicks, 1);
    assert.equal(queue.refill(), 0, 'the ring is full');
    assert.equal(device.available(), 4);

    world.receive(numberedFrame(1, 60));
    world.receive(numberedFrame(2, 100));
    assert.equal(queue.reap(), 2);
    assert.equal(queue.bytes, 2 * HEADER_SIZE + 160);
    assert.deepEqual(world.frame(queue.frames[0]!), Buffer.from(numberedFrame(1, 60)));
    assert.deepEqual(world.frame(queue.frames[1]!), Buffer.from(numberedFrame(2, 100)));
    assert.equal(queue.frameCount, 2);
    assert.equal(queue.byteCount, 184);
    for (const first of queue.frames.subarray(0, 2)) queue.pool.releaseFrame(first);
    assert.equal(queue.refill(), 2);
    assert.equal(queue.reap(), 0);
    assert.equal(queue.bytes, 0);
  });

  it('puts a frame of several buffers together', () => {
    const world = new ReceiveOnModel({ size: 8, bufferSize: 128 });
    const { queue } = world;
    queue.refill();
    const frame = numberedFrame(7, 300);
    world.receive(frame);
    assert.equal(queue.reap(), 1);
    const first = queue.frames[0]!;
    assert.equal(readNumBuffers(queue.pool.bytes, queue.pool.offset(first)), 3);
    assert.deepEqual(world.frame(first), Buffer.from(frame));
    queue.pool.releaseFrame(first);
    assert.equal(queue.pool.free, 24 - 5);
  });

  it('finishes a frame that a limit cut', () => {
    const world = new ReceiveOnModel({ size: 8, bufferSize: 128 });
    const { queue } = world;
    queue.refill();
    world.receive(numberedFrame(1, 300));
    world.receive(numberedFrame(2, 60));
    assert.equal(queue.reap(2), 0, 'two of three buffers are no frame');
    assert.equal(queue.corruption, undefined);
    assert.equal(queue.reap(2), 2);
    assert.deepEqual(world.frame(queue.frames[0]!), Buffer.from(numberedFrame(1, 300)));
    assert.deepEqual(world.frame(queue.frames[1]!), Buffer.from(numberedFrame(2, 60)));
  });

  it('reads no num_buffers where frames have one buffer each', () => {
    const world = new ReceiveOnModel({ mergeable: false });
    const { queue, device } = world;
    queue.refill();
    const [filled] = world.fill(numberedFrame(1, 60), 999);
    device.use(filled!.head, filled!.length);
    assert.equal(queue.reap(), 1);
  });

  it('leaves the reserve of the pool alone', () => {
    const { queue } = new ReceiveOnModel({ size: 8, count: 10, reserve: 4 });
    assert.equal(queue.refill(), 6);
    assert.equal(queue.pool.free, 4);
    assert.equal(queue.refill(), 0);
    const [held] = [queue.pool.lease()];
    assert.equal(queue.refill(), 0, 'fewer than the reserve are free');
    queue.pool.release(held);
  });

  it('gives every buffer back when it is settled, reaped or not', () => {
    const world = new ReceiveOnModel({ size: 8, bufferSize: 128 });
    const { queue } = world;
    queue.refill();
    world.receive(numberedFrame(1, 300));
    world.receive(numberedFrame(2, 60));
    queue.reap(2);
    queue.settle();
    assert.equal(queue.pool.free, queue.pool.count);
    assert.equal(queue.ledger.inFlight, 0);
    assert.equal(queue.ledger.abandoned, 4);
    queue.refill();
    world.reattach();
    world.receive(numberedFrame(3, 60));
    assert.equal(queue.reap(), 1, 'and the next device begins with a new frame');
    assert.deepEqual(world.frame(queue.frames[0]!), Buffer.from(numberedFrame(3, 60)));
  });

  it('keeps what a device had not taken for the next', () => {
    const world = new ReceiveOnModel({ size: 8 });
    const { queue } = world;
    queue.refill();
    world.receive(numberedFrame(1, 60));
    queue.settle(world.device.availableIndex);
    assert.equal(queue.ledger.abandoned, 0);
    world.reattach();
    assert.equal(world.device.available(), 7);
    world.receive(numberedFrame(2, 60));
    assert.equal(queue.reap(), 2, 'frames that came before are received');
    // A buffer that it took and lost is abandoned; those it had not taken stay.
    world.write(new Uint8Array(1));
    queue.settle(world.device.availableIndex);
    assert.equal(queue.ledger.abandoned, 1);
    assert.equal(queue.ledger.inFlight, 5);
    checkPool(queue.pool, 5);
  });
});

describe('ReceiveQueue and a device that lies', () => {
  const corrupt = (world: ReceiveOnModel, message: RegExp): void => {
    const { queue } = world;
    const before = queue.frameCount;
    assert.equal(queue.reap(), 0);
    assert.equal(queue.corruption?.code, 'ERR_VHOST_RING_CORRUPT');
    assert.equal(queue.corruption.queue, 0);
    assert.match(queue.corruption.message, message);
    assert.equal(queue.frameCount, before);
    assert.equal(queue.reap(), 0, 'nothing comes after a lie');
    checkPool(queue.pool, queue.ledger.inFlight);
    queue.settle();
    assert.equal(queue.corruption, undefined);
    assert.equal(queue.pool.free, queue.pool.count, 'nothing leaks');
    queue.refill();
    world.reattach();
    world.receive(numberedFrame(1, 60));
    assert.equal(queue.reap(), 1, 'and it is sound again');
  };
  const make = (): ReceiveOnModel => {
    const world = new ReceiveOnModel({ size: 8, bufferSize: 128 });
    world.queue.refill();
    return world;
  };

  it('believes no frame of no buffers', () => {
    const world = make();
    const [filled] = world.fill(numberedFrame(1, 60), 0);
    world.device.use(filled!.head, filled!.length);
    corrupt(world, /^the device gave a frame of 72 bytes in 0 buffers$/);
  });

  it('believes no frame of more buffers than the ring has', () => {
    const world = make();
    const [filled] = world.fill(numberedFrame(1, 60), 9);
    world.device.use(filled!.head, filled!.length);
    corrupt(world, /in 9 buffers$/);
  });

  it('believes no frame that is shorter than its header', () => {
    const world = make();
    const [filled] = world.fill(numberedFrame(1, 60));
    world.device.use(filled!.head, HEADER_SIZE - 1);
    corrupt(world, /^the device gave a frame of 11 bytes/);
  });

  it('believes no frame that ends before its last buffer', () => {
    const world = make();
    const filled = world.fill(numberedFrame(1, 300));
    for (const { head, length } of filled.slice(0, 2)) world.device.complete(head, length);
    world.device.publish();
    corrupt(world, /^the device ended a frame 1 buffers too early$/);
  });

  it('finds a lie in the middle of a frame at once', () => {
    const world = make();
    const filled = world.fill(numberedFrame(1, 300));
    world.device.complete(filled[0]!.head, filled[0]!.length);
    world.device.lieTooLong(filled[1]!.head);
    corrupt(world, /^the device wrote 129 bytes into the 128 of head/);
  });

  it('hands out and counts the frames before a lie', () => {
    const world = make();
    const { queue, device } = world;
    world.receive(numberedFrame(1, 60));
    const [filled] = world.fill(numberedFrame(2, 60), 0);
    device.use(filled!.head, filled!.length);
    assert.equal(queue.reap(), 1);
    assert.ok(queue.corruption);
    assert.deepEqual(world.frame(queue.frames[0]!), Buffer.from(numberedFrame(1, 60)));
    assert.equal(queue.frameCount, 1);
    assert.equal(queue.byteCount, 72);
    queue.pool.releaseFrame(queue.frames[0]!);
    queue.settle();
    assert.equal(queue.pool.free, queue.pool.count);
  });

  it('does not keep for the next device what a lying one says it returned', () => {
    const world = make();
    world.device.lieIndexJump(1000);
    world.queue.settle(world.device.availableIndex);
    checkPool(world.queue.pool, world.queue.ring.inFlight);
    world.reattach();
    world.receive(numberedFrame(1, 60));
    assert.equal(world.queue.reap(), 1);
    assert.deepEqual(world.frame(world.queue.frames[0]!), Buffer.from(numberedFrame(1, 60)));
  });

  property('hands out true frames only, and each once, through 30,000 lies', (random) => {
    const told = new Set<string>();
    for (const size of [2, 8, 32]) {
      const liar = new ReceiveLiar(size, random);
      for (let i = runs(10_000); i > 0; i--) told.add(liar.round());
    }
    assert.equal(told.size, 8, `every lie was told: ${[...told].join(', ')}`);
  });
});

/** Honest frames and then a lie, again and again, on one queue. */
class ReceiveLiar {
  readonly #world: ReceiveOnModel;
  readonly #random: Random;
  #serial = 0;
  #due: Uint8Array[] = [];
  /** Frames that the program holds on to. */
  readonly #held: number[] = [];

  constructor(size: number, random: Random) {
    this.#random = random;
    this.#world = new ReceiveOnModel({
      size,
      bufferSize: 64,
      eventIdx: random.oneIn(2),
      base: 65_535 - random.below(size),
    });
  }

  /** Which lie it was. */
  round(): string {
    const random = this.#random;
    const { queue } = this.#world;
    queue.refill();
    const { device } = this.#world;
    for (let i = random.below(4); i > 0; i--) this.#honest();
    if (random.oneIn(3)) this.#reap();
    const kind = device.available() === 0 ? this.#jump() : this.#lie();
    for (let i = 0; queue.corruption === undefined; i++) {
      assert.ok(i < 100, `the lie is found: ${kind}`);
      this.#reap();
    }
    assert.deepEqual(this.#due, [], 'every true frame was handed out');
    assert.equal(queue.corruption.code, 'ERR_VHOST_RING_CORRUPT');
    queue.settle();
    checkPool(queue.pool, 0);
    assert.equal(queue.ring.free, queue.ring.size);
    const { submitted, completed, abandoned } = queue.ledger;
    assert.equal(submitted, completed + abandoned);
    while (this.#held.length > 0) queue.pool.releaseFrame(this.#held.pop()!);
    assert.equal(queue.pool.free, queue.pool.count, 'nothing leaks');
    queue.refill();
    this.#world.reattach();
    return kind;
  }

  #frame(): Uint8Array {
    return numberedFrame(this.#serial++, this.#random.between(1, 150));
  }

  #honest(): void {
    const frame = this.#frame();
    if (Math.ceil((frame.length + HEADER_SIZE) / 64) > this.#world.device.available()) return;
    const filled = this.#world.fill(frame);
    for (const { head, length } of filled) this.#world.device.complete(head, length);
    this.#world.device.publish();
    this.#due.push(frame);
  }

  #reap(): void {
    const { queue } = this.#world;
    const random = this.#random;
    const count = queue.reap(random.oneIn(2) ? undefined : random.between(1, 4));
    for (let i = 0; i < count; i++) {
      const first = queue.frames[i]!;
      const frame = this.#due.shift();
      assert.ok(frame, 'no more frames than there were');
      assert.deepEqual(this.#world.frame(first), Buffer.from(frame));
      if (random.oneIn(2) && queue.pool.next[first] === -1) this.#held.push(first);
      else queue.pool.releaseFrame(first);
    }
    checkPool(queue.pool, queue.ledger.inFlight);
    if (queue.ring.corruption !== undefined) assert.ok(queue.corruption, 'a lie of the ring is one here');
  }

  #jump(): string {
    this.#world.device.lieIndexJump(this.#random.between(this.#world.queue.ring.size + 1, 60_000));
    // What the index covers is in doubt, all of it.
    this.#due = [];
    return 'jump';
  }

  #lie(): string {
    const random = this.#random;
    const { device, queue } = this.#world;
    const whole = (numBuffers: number, length?: number): void => {
      const [filled] = this.#world.fill(numberedFrame(this.#serial++, 50), numBuffers);
      device.use(filled!.head, length ?? filled!.length);
    };
    // One buffer stays away, so that a lie is not one about the index as well.
    const enough = device.available() >= 2;
    const kinds: [string, () => void][] = [
      ['no buffers', () => whole(0)],
      ['too many buffers', () => whole(queue.ring.size + random.between(1, 60_000))],
      ['short', () => whole(1, random.below(HEADER_SIZE))],
      ['early', () => whole(random.between(2, queue.ring.size))],
      ['long', () => device.lieTooLong(this.#world.write(new Uint8Array(64)).head, random.between(1, 1000))],
    ];
    if (enough) {
      kinds.push(['out of range', () => device.lieOutOfRange(queue.ring.size + random.below(2 ** 31))]);
      // Buffers in pairs: the second time it is a lie.
      kinds.push([
        'twice',
        () => {
          const [filled] = this.#world.fill(numberedFrame(this.#serial++, 30));
          device.complete(filled!.head, filled!.length);
          this.#due.push(numberedFrame(this.#serial - 1, 30));
          device.lieNotInFlight(filled!.head, 42);
        },
      ]);
    }
    if (random.oneIn(8)) return this.#jump();
    const [kind, tell] = random.pick(kinds);
    tell();
    return kind;
  }
}
