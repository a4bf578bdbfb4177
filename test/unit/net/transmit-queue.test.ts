import assert from 'node:assert/strict';
import { Submission } from '../../../lib/completion/submission.js';
import { HEADER_SIZE, writeHeader } from '../../../lib/net/header.js';
import { checkPool, numberedFrame, TransmitOnModel } from '../../support/queue-on-model.js';
import { property, type Random, runs } from '../../support/random.js';

describe('TransmitQueue', () => {
  it('is a round: lease, post, flush, reap', () => {
    const world = new TransmitOnModel({ size: 4 });
    const { queue, device } = world;
    const first = world.lease(numberedFrame(1, 60));
    const second = world.lease(numberedFrame(2, 61));
    const head = queue.post(first);
    assert.ok(head >= 0);
    queue.post(second);
    assert.equal(device.available(), 0, 'nothing is seen before it is flushed');
    queue.flush();
    assert.equal(world.kicks, 1, 'once for both');
    assert.equal(queue.kicks, 1);
    assert.deepEqual(world.take(), { head, frame: Buffer.from(numberedFrame(1, 60)) });
    const other = world.take()!;
    assert.deepEqual(other.frame, Buffer.from(numberedFrame(2, 61)));

    device.use(other.head, 0);
    assert.equal(queue.reap(), 1);
    assert.equal(queue.bytes, HEADER_SIZE + 61);
    assert.equal(queue.ledger.tokens[0], second);
    assert.ok(!queue.pool.isLeased(second), 'it went back to the pool');
    assert.throws(() => queue.pool.release(first), { message: /it is posted to a device/ });
    device.use(head, 0);
    assert.equal(queue.reap(), 1);
    assert.equal(queue.pool.free, queue.pool.count);
    assert.equal(queue.ledger.outOfOrder, 1);
  });

  it('sends a frame of several buffers, with and without indirect tables', () => {
    for (const entries of [0, 8]) {
      const world = new TransmitOnModel({ size: 8, bufferSize: 128, entries });
      const { queue, device } = world;
      const frame = numberedFrame(3, 600);
      queue.post(world.lease(frame));
      queue.flush();
      assert.equal(queue.ring.free, entries > 0 ? 7 : 3);
      const taken = world.take()!;
      assert.deepEqual(taken.frame, Buffer.from(frame));
      checkPool(queue.pool, 5);
      device.use(taken.head, 0);
      assert.equal(queue.reap(), 1);
      assert.equal(queue.bytes, 612);
      assert.equal(queue.pool.free, queue.pool.count, 'all of its buffers are back');
    }
  });

  it('is full at the ring, at maxFrames and at maxBytes, and leaves the lease where it was', () => {
    const full: [string, TransmitOnModel][] = [
      ['ring', new TransmitOnModel({ size: 2 })],
      ['maxFrames', new TransmitOnModel({ size: 8, maxFrames: 2 })],
      ['maxBytes', new TransmitOnModel({ size: 8, maxBytes: 2 * 72 + 71 })],
    ];
    for (const [what, world] of full) {
      const { queue, device } = world;
      for (let i = 0; i < 2; i++) assert.notEqual(queue.post(world.lease(numberedFrame(i, 60))), -1, what);
      const third = world.lease(numberedFrame(3, 60));
      assert.equal(queue.post(third), -1, what);
      assert.ok(queue.pool.isLeased(third));
      queue.flush();
      device.use(world.take()!.head, 0);
      queue.reap();
      assert.notEqual(queue.post(third), -1, `${what}: there is room again`);
    }
  });

  it('is full where a chain finds too few descriptors', () => {
    const world = new TransmitOnModel({ size: 4, bufferSize: 128 });
    const { queue } = world;
    queue.post(world.lease(numberedFrame(1, 200)));
    queue.post(world.lease(numberedFrame(2, 60)));
    const third = world.lease(numberedFrame(3, 200));
    assert.equal(queue.post(third), -1);
    assert.ok(queue.pool.isLeased(third));
    assert.ok(queue.pool.isLeased(queue.pool.next[third]!));
    assert.equal(queue.ring.free, 1);
  });

  it('settles: what came back is completed, the rest abandoned, every buffer free', () => {
    const world = new TransmitOnModel({ size: 4 });
    const { queue, device } = world;
    const submission = new Submission(3);
    for (let i = 0; i < 3; i++)
      queue.ledger.assign(queue.post(world.lease(numberedFrame(i, 60))), submission, submission.post());
    queue.flush();
    device.use(world.take()!.head, 0);
    queue.settle();
    assert.deepEqual(submission.result, { completed: 1, abandoned: 2, withdrawn: 0 });
    assert.equal(queue.pool.free, queue.pool.count);
    queue.settle();
  });

  it('releases a frame as it was posted, whatever is linked while the device has it', () => {
    const world = new TransmitOnModel({ size: 8, bufferSize: 128, entries: 8 });
    const { queue, device } = world;
    const { pool } = queue;
    const mine = pool.lease();
    const first = world.lease(numberedFrame(1, 600));
    const alone = world.lease(numberedFrame(2, 60));
    queue.post(first);
    queue.post(alone);
    queue.flush();
    pool.next[first] = mine;
    pool.next[alone] = 1_000_000;
    for (let i = 0; i < 2; i++) device.use(world.take()!.head, 0);
    assert.equal(queue.reap(), 2);
    assert.equal(pool.free, pool.count - 1);
    assert.ok(pool.isLeased(mine));
    checkPool(pool, 0);
  });

  it('mends a ring in which a device lied and of which it had taken nothing', () => {
    const told: string[] = [];
    const world = new TransmitOnModel({ size: 8, corrupted: ({ code }) => told.push(code) });
    const { queue, device } = world;
    queue.post(world.lease(numberedFrame(1, 60)));
    queue.flush();
    device.lieIndexJump(100);
    assert.equal(queue.reap(), 0);
    assert.deepEqual(told, ['ERR_VHOST_RING_CORRUPT']);
    queue.settle(device.availableIndex);
    assert.equal(queue.ring.corruption, undefined);
    assert.equal(queue.ledger.inFlight, 1, 'the frame waits for the next device');
    world.reattach();
    world.device.use(world.take()!.head, 0);
    assert.equal(queue.reap(), 1);
  });

  it('takes no further frame once those that it took have so many bytes', () => {
    const world = new TransmitOnModel({ size: 8, bufferSize: 128, entries: 8 });
    const { queue, device } = world;
    for (const length of [60, 600, 60, 60]) queue.post(world.lease(numberedFrame(1, length)));
    queue.flush();
    for (let i = 0; i < 4; i++) device.use(world.take()!.head, 0);
    assert.equal(queue.reap(8, 73), 2, 'one that begins within them ends beyond');
    assert.equal(queue.bytes, 72 + 612);
    assert.equal(queue.reap(8, 0), 0);
    assert.equal(queue.reap(8, 72), 1);
    assert.equal(queue.reap(), 1);
  });

  it('keeps what a device had not taken for the next', () => {
    const world = new TransmitOnModel({ size: 8 });
    const { queue, device } = world;
    for (let i = 0; i < 4; i++) queue.post(world.lease(numberedFrame(i, 60)));
    queue.flush();
    device.use(world.take()!.head, 0);
    world.take();
    queue.settle(device.availableIndex);
    assert.equal(queue.ledger.completed, 1);
    assert.equal(queue.ledger.abandoned, 1, 'the one that it took and never returned');
    assert.equal(queue.ledger.inFlight, 2);
    world.reattach();
    assert.deepEqual(world.take()!.frame, Buffer.from(numberedFrame(2, 60)));
    assert.deepEqual(world.take()!.frame, Buffer.from(numberedFrame(3, 60)));
    assert.equal(world.take(), undefined);
  });
});

describe('TransmitQueue refuses, and takes nothing', () => {
  /** A frame that `break` makes wrong is refused with `message`, and nothing has changed. */
  function refuses(
    message: RegExp,
    spoil: (world: TransmitOnModel, first: number) => number | undefined,
    options: ConstructorParameters<typeof TransmitOnModel>[0] = {},
    frame = 600,
  ): void {
    const world = new TransmitOnModel({ size: 8, bufferSize: 128, entries: 8, ...options });
    const { queue } = world;
    const first = world.lease(numberedFrame(1, frame));
    const posted = spoil(world, first) ?? first;
    const leased = Array.from({ length: queue.pool.count }, (_, buffer) => queue.pool.isLeased(buffer));
    assert.throws(() => queue.post(posted), { name: /^(Range|Vhost)Error \[ERR_VHOST_/, message });
    assert.deepEqual(
      Array.from({ length: queue.pool.count }, (_, buffer) => queue.pool.isLeased(buffer)),
      leased,
    );
    assert.equal(queue.ring.inFlight, 0);
    assert.equal(queue.ledger.submitted, 0);
    queue.flush();
    assert.equal(world.device.available(), 0);
    assert.equal(world.kicks, 0);
  }

  it('a buffer that is not out on lease', () => {
    refuses(/^buffer 0 is not out on lease/, ({ queue }, first) => queue.pool.releaseFrame(first) ?? first);
    refuses(/^buffer 77 is not out on lease/, () => 77);
    refuses(/^buffer -1 is not out on lease/, () => -1);
  });

  it('a frame that goes on in a buffer that is not out on lease', () => {
    refuses(/^buffer 1 is not out on lease/, ({ queue: { pool } }, first) => {
      const second = pool.next[first]!;
      const third = pool.next[second]!;
      pool.release(second);
      pool.next[second] = third;
      return undefined;
    });
    refuses(/^buffer 4000 is not out on lease/, ({ queue: { pool } }, first) => {
      pool.next[first] = 4000;
      return undefined;
    });
  });

  it('a frame whose buffers go round', () => {
    refuses(/^the buffers of a frame must end/, ({ queue: { pool } }, first) => {
      pool.next[pool.next[first]!] = first;
      return undefined;
    });
  });

  it('a buffer that says it holds more than it can', () => {
    refuses(/^buffer 0 holds 128 bytes; its length is 129/, ({ queue: { pool } }, first) => {
      pool.length[first] = 129;
      return undefined;
    });
    refuses(/^buffer 1 holds 128 bytes/, ({ queue: { pool } }, first) => {
      pool.length[pool.next[first]!] = 1 << 20;
      return undefined;
    });
  });

  it('a first buffer that does not hold the header', () => {
    refuses(
      /^the first buffer of a frame holds its 12 bytes of header; buffer 0 has 11/,
      ({ queue }, first) => {
        queue.pool.length[first] = 11;
        return undefined;
      },
    );
  });

  it('a frame at which the kernel would stumble', () => {
    refuses(/^a frame has at least 14 bytes/, () => undefined, {}, 13);
    refuses(/^header\.csumStart/, ({ queue: { pool } }, first) => {
      writeHeader(pool.bytes, pool.offset(first), { needsChecksum: true, csumStart: 1000 });
      return undefined;
    });
  });

  it('a frame that is longer than the MTU and a VLAN tag, unless it is segmented', () => {
    const long = { mtu: 500, entries: 64, count: 1200 };
    refuses(
      /^a frame without segment offload has at most the MTU 500 \+ 18 bytes; this has 519/,
      () => undefined,
      long,
      519,
    );
    const world = new TransmitOnModel({ size: 8, bufferSize: 128, ...long, entries: 1024 });
    assert.notEqual(world.queue.post(world.lease(numberedFrame(1, 518))), -1);
    const segmented = (length: number): number => {
      const first = world.lease(numberedFrame(1, length));
      writeHeader(world.queue.pool.bytes, world.queue.pool.offset(first), { gsoType: 'tcpv4', gsoSize: 400 });
      return first;
    };
    assert.notEqual(world.queue.post(segmented(65_550)), -1);
    const over = segmented(65_551);
    assert.throws(() => world.queue.post(over), {
      message: 'a frame with segment offload has at most 65550 bytes; this has 65551',
    });
  });

  it('a frame that would never be within maxBytes', () => {
    refuses(/^a frame has at most maxInFlight\.bytes, 611; this has 612/, () => undefined, { maxBytes: 611 });
  });
});

describe('TransmitQueue and a device that lies', () => {
  it('does not keep for the next device what a lying one says it returned', () => {
    const world = new TransmitOnModel({ size: 8 });
    const { queue, device } = world;
    for (let i = 0; i < 4; i++) queue.post(world.lease(numberedFrame(i, 60)));
    queue.flush();
    world.take();
    device.lieIndexJump(1000);
    queue.settle(device.availableIndex);
    assert.equal(queue.ledger.abandoned, 1, 'the frame that it had taken');
    world.reattach();
    for (let i = 1; i < 4; i++) {
      const taken = world.take()!;
      assert.deepEqual(taken.frame, Buffer.from(numberedFrame(i, 60)));
      world.device.use(taken.head, 0);
    }
    assert.equal(queue.reap(), 3);
    assert.equal(queue.pool.free, queue.pool.count);
  });

  property('settles every frame once and loses no buffer through 30,000 lies', (random) => {
    const told = new Set<string>();
    for (const size of [2, 8, 32]) {
      const liar = new TransmitLiar(size, random);
      for (let i = runs(10_000); i > 0; i--) told.add(liar.round());
    }
    assert.equal(told.size, 4, `every lie was told: ${[...told].join(', ')}`);
  });
});

/** Honest completions and then a lie, again and again, on one queue. */
class TransmitLiar {
  readonly #world: TransmitOnModel;
  readonly #random: Random;
  #serial = 0;

  constructor(size: number, random: Random) {
    this.#random = random;
    this.#world = new TransmitOnModel({
      size,
      bufferSize: 64,
      entries: random.oneIn(2) ? 4 : 0,
      eventIdx: random.oneIn(2),
      base: 65_535 - random.below(size),
    });
  }

  /** Which lie it was. */
  round(): string {
    const random = this.#random;
    const { queue, device } = this.#world;
    const submissions: Submission[] = [];
    for (let i = random.between(1, queue.ring.size); i > 0; i--) {
      const first = this.#world.lease(numberedFrame(this.#serial++, random.between(14, 150)));
      if (first === -1) break;
      let head = -1;
      try {
        head = queue.post(first);
      } catch (error) {
        // A chain that is longer than the whole ring.
        assert.equal((error as { code?: string }).code, 'ERR_VHOST_OUT_OF_RANGE');
      }
      if (head === -1) {
        queue.pool.releaseFrame(first);
        break;
      }
      const submission = new Submission(1);
      queue.ledger.assign(head, submission, submission.post());
      submissions.push(submission);
    }
    queue.flush();
    checkPool(queue.pool, this.#posted());
    let honest = 0;
    for (let i = random.below(4); i > 0; i--) {
      const taken = this.#world.take();
      if (taken === undefined) break;
      device.use(taken.head, 0);
      honest++;
      if (random.oneIn(2)) honest -= queue.reap();
    }
    const kind = this.#lie();
    const due = kind === 'jump' ? 0 : honest;
    let reaped = 0;
    for (let i = 0; queue.ring.corruption === undefined; i++) {
      assert.ok(i < 100, `the lie is found: ${kind}`);
      reaped += queue.reap(random.oneIn(2) ? undefined : 1);
      checkPool(queue.pool, this.#posted());
    }
    assert.equal(reaped, due + (kind === 'twice' ? 1 : 0));
    queue.settle();
    assert.equal(queue.pool.free, queue.pool.count, 'nothing leaks');
    assert.equal(queue.ring.free, queue.ring.size);
    const { submitted, completed, abandoned } = queue.ledger;
    assert.equal(submitted, completed + abandoned);
    for (const { result } of submissions)
      assert.equal(result.completed + result.abandoned, 1, 'a frame has one fate');
    this.#world.reattach();
    return kind;
  }

  /** Buffers of the frames in flight. */
  #posted(): number {
    const { pool } = this.#world.queue;
    let leased = 0;
    for (let buffer = 0; buffer < pool.count; buffer++) if (pool.isLeased(buffer)) leased++;
    assert.equal(leased, 0, 'the program holds nothing');
    return pool.count - pool.free;
  }

  #lie(): string {
    const random = this.#random;
    const { device, queue } = this.#world;
    const { ring } = queue;
    const jump = (): string => {
      device.lieIndexJump(random.between(ring.size + 1, 60_000));
      return 'jump';
    };
    if (ring.inFlight - ring.reapable < 2 || random.oneIn(4)) return jump();
    if (random.oneIn(2)) {
      device.lieOutOfRange(ring.size + random.below(2 ** 31));
      return 'out of range';
    }
    const free = Array.from({ length: ring.size }, (_, head) => head).filter(
      (head) => !ring.isInFlight(head),
    );
    if (free.length > 0 && random.oneIn(2)) {
      device.lieNotInFlight(random.pick(free));
      return 'not in flight';
    }
    const taken = this.#world.take();
    if (taken === undefined) return jump();
    device.lieTwice(taken.head);
    return 'twice';
  }
}
