import assert from 'node:assert/strict';
import { type FrameOwner, Ledger } from '../../../lib/completion/ledger.js';
import { FrameStatus, Submission } from '../../../lib/completion/submission.js';
import { long, property, type Random, runs } from '../../support/random.js';

/** A frame as a plain record, in a Map: all that the reference knows. */
interface Entry {
  readonly bytes: number;
  readonly token: number;
  readonly stamp: number;
  readonly sequence: number;
  readonly owner: Owner | undefined;
  readonly position: number;
}

/** What a Submission must say, counted by hand; or an owner that only notes what it is told. */
interface Owner {
  readonly submission: Submission;
  /** By frame: how it ended, undefined while it has not. */
  readonly fates: ('completed' | 'abandoned' | 'withdrawn' | undefined)[];
  readonly latencies: number[];
  accepted: 'pending' | 'resolved' | 'rejected';
  settledAccepted: number;
  settledCompleted: number;
  readonly promises: boolean;
}

/** The ledger as anybody would write it first. */
class Reference {
  readonly inFlight = new Map<number, Entry>();
  submitted = 0;
  completed = 0;
  abandoned = 0;
  maxInFlight = 0;
  bytesSubmitted = 0;
  bytesCompleted = 0;
  outOfOrder = 0;
  latencies = 0;
  readonly batchSizes = new Array<number>(17).fill(0);
  latest = -1;

  bytesInFlight(): number {
    let sum = 0;
    for (const { bytes } of this.inFlight.values()) sum += bytes;
    return sum;
  }
}

class LedgerAndReference {
  readonly ledger: Ledger;
  readonly reference = new Reference();
  readonly #random: Random;
  readonly #size: number;
  readonly #free: number[];
  readonly #heads: Uint16Array;
  readonly #owners = new Set<Owner>();
  #now = 1000;
  #timedFrom = 0;
  ended = 0;

  /** `timeEvery`: of how many frames one batch is timed. */
  constructor(size: number, timeEvery: number, random: Random) {
    this.#size = size;
    this.#random = random;
    this.ledger = new Ledger(size, () => this.#now);
    this.ledger.timeEvery = timeEvery;
    this.#free = Array.from({ length: size }, (_, head) => head);
    this.#heads = new Uint16Array(size);
  }

  tick(): void {
    this.#now += this.#random.below(1000) / 8;
  }

  /** A batch with one stamp: frames of a submission, or frames that nobody waits for. */
  submit(): void {
    const random = this.#random;
    const { ledger, reference } = this;
    ledger.stamp();
    const timed = ledger.timeEvery === 1 || reference.submitted >= this.#timedFrom;
    const stamp = timed ? this.#now : Number.NaN;
    if (timed) this.#timedFrom = reference.submitted + ledger.timeEvery;
    const size = random.between(1, 12);
    const owner = random.oneIn(3) ? undefined : this.#owner(size);
    for (let i = 0; i < size; i++) {
      if (this.#free.length === 0) {
        owner?.submission.withdraw(new Error('full'));
        if (owner) for (let rest = i; rest < size; rest++) owner.fates[rest] = 'withdrawn';
        if (owner) owner.accepted = 'rejected';
        break;
      }
      const head = random.draw(this.#free);
      const bytes = random.below(70_000);
      const token = random.word() | 0;
      ledger.submit(head, bytes, token);
      const position = owner ? owner.submission.post() : -1;
      if (owner) ledger.assign(head, owner.submission, position);
      if (owner) assert.equal(position, i);
      reference.inFlight.set(head, {
        bytes,
        token,
        stamp,
        sequence: reference.submitted++,
        owner,
        position,
      });
      reference.bytesSubmitted += bytes;
      reference.maxInFlight = Math.max(reference.maxInFlight, reference.inFlight.size);
      if (owner && i === size - 1) owner.accepted = 'resolved';
    }
  }

  complete(): void {
    const { ledger, reference } = this;
    const count = this.#choose();
    const now = this.#now;
    let bytes = 0;
    let stamp = Number.NaN;
    const expected: number[] = [];
    for (let i = 0; i < count; i++) {
      const entry = this.#leave(i, expected);
      bytes += entry.bytes;
      if (entry.sequence < reference.latest) reference.outOfOrder++;
      reference.latest = Math.max(reference.latest, entry.sequence);
      if (!Number.isNaN(entry.stamp)) {
        if (entry.stamp !== stamp) reference.latencies++;
        stamp = entry.stamp;
      }
      this.#end(entry, 'completed', now - entry.stamp);
    }
    if (count > 0) reference.batchSizes[Math.floor(Math.log2(count))]!++;
    assert.equal(ledger.complete(this.#heads, count), bytes);
    reference.completed += count;
    reference.bytesCompleted += bytes;
    assert.deepEqual(Array.from(ledger.tokens.subarray(0, count)), expected);
  }

  abandon(): void {
    const count = this.#choose();
    const expected: number[] = [];
    for (let i = 0; i < count; i++) this.#end(this.#leave(i, expected), 'abandoned', Number.NaN);
    this.ledger.abandon(this.#heads, count);
    this.reference.abandoned += count;
    assert.deepEqual(Array.from(this.ledger.tokens.subarray(0, count)), expected);
  }

  /** A head that is not in flight is refused, and one that is cannot be entered again. */
  misuse(): void {
    const { ledger } = this;
    const error = { code: 'ERR_VHOST_RING_CORRUPT' };
    if (this.#free.length > 0) {
      this.#heads[0] = this.#random.pick(this.#free);
      assert.throws(() => ledger.complete(this.#heads, 1), error);
      assert.throws(() => ledger.abandon(this.#heads, 1), error);
    }
    const [head] = this.reference.inFlight.keys();
    if (head !== undefined) assert.throws(() => ledger.submit(head, 1, 1), error);
    assert.throws(() => ledger.submit(this.#size, 1, 1), error);
  }

  check(): void {
    const { ledger, reference } = this;
    assert.equal(ledger.submitted, reference.submitted);
    assert.equal(ledger.completed, reference.completed);
    assert.equal(ledger.abandoned, reference.abandoned);
    assert.equal(ledger.inFlight, reference.inFlight.size);
    assert.equal(ledger.submitted, ledger.completed + ledger.abandoned + ledger.inFlight);
    assert.equal(ledger.maxInFlight, reference.maxInFlight);
    assert.equal(ledger.bytesSubmitted, reference.bytesSubmitted);
    assert.equal(ledger.bytesCompleted, reference.bytesCompleted);
    assert.equal(ledger.outOfOrder, reference.outOfOrder);
  }

  checkAll(): void {
    const { ledger, reference } = this;
    this.check();
    assert.equal(ledger.bytesInFlight, reference.bytesInFlight());
    assert.deepEqual(Array.from(ledger.batchSizes), reference.batchSizes);
    assert.equal(ledger.latency.count, reference.latencies);
    for (const owner of this.#owners) this.#checkOwner(owner);
  }

  /** Promises settle in a turn of their own. */
  async checkPromises(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    for (const owner of this.#owners) {
      this.#checkOwner(owner);
      const over = owner.submission.pending === 0;
      if (owner.promises) {
        assert.equal(owner.settledAccepted, owner.accepted === 'pending' ? 0 : 1);
        assert.equal(owner.settledCompleted, over ? 1 : 0);
      }
      if (!over) continue;
      // Made only now, they are settled all the same.
      const { completed, abandoned, withdrawn } = await owner.submission.completed;
      assert.equal(completed + abandoned + withdrawn, owner.submission.size);
      if (owner.accepted === 'rejected') await assert.rejects(owner.submission.accepted, { message: 'full' });
      else await owner.submission.accepted;
      this.#owners.delete(owner);
      this.ended++;
    }
  }

  #owner(size: number): Owner {
    const submission = new Submission(size);
    const owner: Owner = {
      submission,
      fates: new Array(size).fill(undefined),
      latencies: new Array(size).fill(Number.NaN),
      accepted: 'pending',
      settledAccepted: 0,
      settledCompleted: 0,
      promises: this.#random.oneIn(2),
    };
    if (owner.promises) {
      const settled = (): void => void owner.settledAccepted++;
      submission.accepted.then(settled, settled);
      submission.completed.then(() => owner.settledCompleted++);
    }
    this.#owners.add(owner);
    return owner;
  }

  #checkOwner({ submission, fates, latencies }: Owner): void {
    const count = (fate: string): number => fates.filter((each) => each === fate).length;
    assert.deepEqual(submission.result, {
      completed: count('completed'),
      abandoned: count('abandoned'),
      withdrawn: count('withdrawn'),
    });
    assert.equal(submission.pending, fates.filter((fate) => fate === undefined).length);
    assert.equal(submission.refused, count('withdrawn') > 0);
    for (const [i, fate] of fates.entries()) {
      assert.equal(submission.status[i], FrameStatus[fate ?? 'inFlight']);
      assert.equal(submission.latency[i], latencies[i]);
    }
  }

  /** Some of those in flight, in any order, into `heads`. */
  #choose(): number {
    const keys = [...this.reference.inFlight.keys()];
    const count = Math.min(keys.length, this.#random.below(this.#random.oneIn(8) ? this.#size + 1 : 6));
    // Mostly near the oldest, as a device would.
    for (let i = 0; i < count; i++) {
      const at = this.#random.below(Math.min(keys.length, 4));
      this.#heads[i] = keys.splice(at, 1)[0]!;
    }
    return count;
  }

  #leave(i: number, tokens: number[]): Entry {
    const head = this.#heads[i]!;
    const entry = this.reference.inFlight.get(head)!;
    this.reference.inFlight.delete(head);
    this.#free.push(head);
    tokens.push(entry.token);
    return entry;
  }

  #end({ owner, position }: Entry, fate: 'completed' | 'abandoned', latency: number): void {
    if (!owner) return;
    assert.equal(owner.fates[position], undefined, 'a frame ends once');
    owner.fates[position] = fate;
    owner.latencies[position] = latency;
  }
}

describe('Ledger against a naive reference', function () {
  this.timeout(600_000);

  property('counts every frame once, whatever completes when', async (random) => {
    const sizes = [1, 4, 32, 256];
    const operations = runs(long ? 1_000_000 : 50_000) / sizes.length;
    for (const size of sizes) {
      const world = new LedgerAndReference(size, random.pick([1, 20]), random);
      for (let i = 0; i < operations; i++) {
        const kind = random.below(100);
        if (kind < 42) world.submit();
        else if (kind < 84) world.complete();
        else if (kind < 88) world.abandon();
        else if (kind < 89) world.misuse();
        else world.tick();
        world.check();
        if (i % 64 === 0) world.checkAll();
        if (i % 256 === 0) await world.checkPromises();
      }
      world.checkAll();
      await world.checkPromises();
      assert.ok(world.ended > operations / 20, `${world.ended} submissions came to an end`);
    }
  });

  it('tells each owner once, by position', () => {
    const told: [number, boolean, number][] = [];
    const owner: FrameOwner = {
      settle: (position, completed, latency) => told.push([position, completed, latency]),
    };
    let now = 5;
    const ledger = new Ledger(4, () => now);
    ledger.stamp();
    for (const head of [2, 0, 3]) {
      ledger.submit(head, 100, head);
      ledger.assign(head, owner, head * 10);
    }
    now = 7.5;
    assert.equal(ledger.complete(Uint16Array.of(3, 2), 2), 200);
    now = 9;
    ledger.abandon(Uint16Array.of(0), 1);
    assert.deepEqual(told, [
      [30, true, 2.5],
      [20, true, 2.5],
      [0, false, 4],
    ]);
    assert.equal(ledger.outOfOrder, 1, 'head 2 was submitted first');
    assert.equal(ledger.latency.count, 1, 'once for what was submitted together');
    // The histogram keeps three digits.
    assert.equal(Math.round(ledger.latency.max / 10), 250);

    // The head is free again, and nobody is told of what is submitted without an owner.
    ledger.submit(3, 1, 1);
    ledger.complete(Uint16Array.of(3), 1);
    assert.equal(told.length, 3);
  });

  it('lets one wait for a head that is in flight, and nobody else', () => {
    const ledger = new Ledger(4);
    const owner: FrameOwner = { settle: () => {} };
    assert.throws(() => ledger.assign(2, owner, 0), { code: 'ERR_VHOST_RING_CORRUPT' });
    ledger.submit(2, 1, 1);
    ledger.assign(2, owner, 0);
    assert.throws(() => ledger.assign(2, owner, 1), { code: 'ERR_VHOST_IN_USE' });
    ledger.complete(Uint16Array.of(2), 1);
    assert.throws(() => ledger.assign(2, owner, 0), { code: 'ERR_VHOST_RING_CORRUPT' });
  });

  it('settles the rest where an owner throws, whose error nobody caught', async () => {
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    try {
      const uncaught = new Promise<unknown>((resolve) => process.once('uncaughtException', resolve));
      const ledger = new Ledger(4);
      const failure = new Error('thrown by an owner');
      const settle = (): void => {
        throw failure;
      };
      for (const head of [0, 1]) {
        ledger.submit(head, 1, 1);
        ledger.assign(head, { settle }, 0);
      }
      ledger.submit(2, 1, 1);
      ledger.complete(Uint16Array.of(0, 2), 2);
      assert.deepEqual([ledger.completed, ledger.inFlight], [2, 1]);
      assert.equal(await uncaught, failure);
      process.once('uncaughtException', () => {});
      ledger.abandon(Uint16Array.of(1), 1);
      assert.equal(ledger.inFlight, 0);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      for (const listener of listeners) process.on('uncaughtException', listener);
    }
  });

  it('tells NaN where no clock was read', () => {
    const latencies: number[] = [];
    const ledger = new Ledger(4);
    for (const head of [0, 1]) {
      ledger.submit(head, 1, 1);
      ledger.assign(head, { settle: (_, __, latency) => latencies.push(latency) }, 0);
    }
    ledger.complete(Uint16Array.of(0), 1);
    ledger.abandon(Uint16Array.of(1), 1);
    assert.deepEqual(latencies, [Number.NaN, Number.NaN]);
    assert.equal(ledger.latency.count, 0);
  });

  for (const [size, timed] of [
    [1, 30],
    [3, 27],
    [16, 15],
  ] as const)
    it(`reads the clock for one batch in 8 frames, where batches have ${size}`, () => {
      let asked = 0;
      const ledger = new Ledger(size, () => ++asked);
      ledger.timeEvery = 8;
      const heads = Uint16Array.from({ length: size }, (_, head) => head);
      for (let frames = 0; frames < 240; frames += size) {
        ledger.stamp();
        for (const head of heads) ledger.submit(head, 0, 0);
        ledger.complete(heads, size);
      }
      assert.deepEqual([asked, ledger.latency.count], [2 * timed, timed]);
    });

  it('counts batches by power of two', () => {
    const ledger = new Ledger(32_768);
    const heads = Uint16Array.from({ length: 32_768 }, (_, head) => head);
    for (const count of [1, 2, 3, 4, 255, 256, 32_768]) {
      for (let head = 0; head < count; head++) ledger.submit(head, 0, 0);
      ledger.complete(heads, count);
    }
    const expected = new Array<number>(17).fill(0);
    for (const power of [0, 1, 1, 2, 7, 8, 15]) expected[power]!++;
    assert.deepEqual(Array.from(ledger.batchSizes), expected);
    assert.equal(ledger.complete(heads, 0), 0, 'no batch at all');
    assert.equal(ledger.maxInFlight, 32_768);
  });

  it('has nothing to do with a batch of none', () => {
    let asked = 0;
    const ledger = new Ledger(2, () => asked++);
    ledger.complete(new Uint16Array(2), 0);
    assert.equal(asked, 0, 'the clock is not even asked');
    assert.deepEqual(
      Array.from(ledger.batchSizes).filter((count) => count > 0),
      [],
    );
  });
});
