import assert from 'node:assert/strict';
import { Budget } from '../../../lib/completion/budget.js';
import { FrameStatus, type Submission } from '../../../lib/completion/submission.js';
import { HEADER_SIZE } from '../../../lib/net/header.js';
import { Sender } from '../../../lib/net/sender.js';
import { checkPool, numberedFrame, TransmitOnModel } from '../../support/queue-on-model.js';
import { long, property, type Random, runs } from '../../support/random.js';
import { turn } from '../../support/until.js';

/** What becomes of a frame, as far as the reference knows: whether it was posted, the submission says. */
type Fate = 'open' | 'returned' | 'abandoned' | 'withdrawn';

interface Frame {
  readonly serial: number;
  fate: Fate;
}

/** What was submitted together; without a submission, one frame of `trySend`. */
interface Batch {
  readonly frames: readonly Frame[];
  readonly submission: Submission | undefined;
  readonly abort: AbortController | undefined;
  /** The first frame that breaks a rule; -1 for none. */
  readonly wrong: number;
  accepted: 'pending' | 'resolved' | 'rejected';
  completed: number;
}

interface Drain {
  readonly abort: AbortController;
  state: 'pending' | 'resolved' | 'rejected';
}

const BUFFER = 128;
const ENTRIES = 4;
/** Frames that broke a rule are longer than any may be. */
const TOO_LONG = 2000;

/** A sender, the device's side, and beside them plain lists of what must be true of both. */
class World {
  readonly #random: Random;
  readonly #on: TransmitOnModel;
  readonly #sender: Sender;
  readonly #size: number;
  /** Bytes that a frame may have: no more buffers than the ring has descriptors. */
  readonly #longest: number;
  /** Frames that no device has taken, in the order in which they are to be. */
  #untaken: Frame[] = [];
  /** By head: frames that the device has taken and not returned. */
  readonly #taken = new Map<number, Frame>();
  readonly #batches = new Set<Batch>();
  readonly #drains = new Set<Drain>();
  #waiting: Batch | undefined;
  #serial = 0;
  #posted = 0;
  #returned = 0;
  #abandoned = 0;
  #called = false;
  ended = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#size = random.pick([2, 8, 32]);
    this.#longest = Math.min(this.#size, 5) * BUFFER - HEADER_SIZE;
    this.#on = new TransmitOnModel({
      size: this.#size,
      bufferSize: BUFFER,
      count: this.#size * random.between(3, 5),
      entries: random.pick([0, ENTRIES]),
      eventIdx: random.oneIn(2),
      base: random.pick([0, 65_530]),
      ...(random.oneIn(3) && { maxFrames: random.between(1, this.#size) }),
      ...(random.oneIn(3) && { maxBytes: random.between(1, 4) * 5 * BUFFER }),
    });
    const budget = new Budget(random.pick([1, 4, 256]), random.pick([100, 0x8_0000]));
    this.#sender = new Sender(this.#on.queue, budget, this.#on.queue.pool.count, () => {});
  }

  step(): Promise<void> | undefined {
    const kind = this.#random.below(200);
    if (kind < 40) this.#submit();
    else if (kind < 55) this.#trySend();
    else if (kind < 95) this.#take();
    else if (kind < 140) this.#complete();
    else if (kind < 150) this.#abort();
    else if (kind < 160) this.#drain();
    else if (kind < 166) this.#swap();
    else if (kind < 167) this.#fail();
    else return this.#turn();
    return undefined;
  }

  /** What holds at every moment. */
  check(): void {
    const { ledger, ring } = this.#on.queue;
    assert.equal(ledger.submitted, ledger.completed + ledger.abandoned + ledger.inFlight);
    assert.equal(ledger.inFlight, ring.inFlight, 'ring and ledger have the same in flight');
    assert.equal(ledger.abandoned, this.#abandoned);
    assert.ok(ledger.completed <= this.#returned, 'nothing is completed that was not returned');
  }

  checkAll(): void {
    const { ledger, ring, pool } = this.#on.queue;
    this.check();
    let buffers = 0;
    let bytes = 0;
    let descriptors = 0;
    for (let head = 0; head < this.#size; head++) {
      if (!ring.isInFlight(head)) continue;
      const pieces = ring.pieces(head);
      buffers += pieces.length;
      descriptors += this.#on.entries >= pieces.length ? 1 : pieces.length;
      for (const { length } of pieces) bytes += length;
    }
    assert.equal(ledger.bytesInFlight, bytes);
    assert.equal(ring.free + descriptors, this.#size, 'every descriptor is somewhere, and in one place');
    checkPool(pool, buffers);
    assert.equal(pool.free + buffers, pool.count, 'none stays on lease');
    let posted = this.#posted;
    for (const batch of this.#batches) posted += batch.submission ? batch.submission.posted : 1;
    assert.equal(ledger.submitted, posted);
    for (const batch of this.#batches) this.#checkBatch(batch);
  }

  /** Ends it in one of the ways in which a queue ends for good, and looks for what is left. */
  async close(): Promise<void> {
    const error = new Error('closed');
    this.#sender.end(error);
    this.#withdraw(this.#waiting);
    this.#returnSome();
    this.#settleAll();
    await this.#turn();
    this.checkAll();
    for (const drain of this.#drains) assert.notEqual(drain.state, 'pending', 'nobody waits any more');
    for (const batch of this.#batches) assert.equal(batch.submission?.pending ?? 0, 0);
    const { ring, pool, ledger } = this.#on.queue;
    assert.deepEqual([pool.free, ring.free, ledger.inFlight], [pool.count, this.#size, 0]);
    this.#sender.resume();
    assert.throws(() => this.#sender.trySend(numberedFrame(0, 60)), error, 'it stays closed');
    await assert.rejects(this.#sender.drain(), error);
  }

  #submit(): void {
    const random = this.#random;
    const frames: Frame[] = [];
    const bytes: Uint8Array[] = [];
    const wrong = random.oneIn(20) ? random.below(6) : -1;
    for (let i = random.between(1, 6); i > 0; i--) {
      const frame: Frame = { serial: this.#serial++, fate: 'open' };
      bytes.push(
        numberedFrame(frame.serial, frames.length === wrong ? TOO_LONG : random.between(14, this.#longest)),
      );
      frames.push(frame);
    }
    const abort = random.oneIn(2) ? new AbortController() : undefined;
    const options = abort && { signal: abort.signal };
    let submission: Submission;
    try {
      submission = this.#sender.submit(bytes, options);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (this.#stillWaiting() !== undefined) assert.equal(code, 'ERR_VHOST_QUEUE_FULL');
      else assert.deepEqual([code, wrong], ['ERR_VHOST_OUT_OF_RANGE', 0]);
      return;
    }
    assert.equal(this.#stillWaiting(), undefined);
    const batch: Batch = { frames, submission, abort, wrong, accepted: 'pending', completed: 0 };
    submission.accepted.then(
      () => {
        batch.accepted = 'resolved';
      },
      () => {
        batch.accepted = 'rejected';
      },
    );
    submission.completed.then(() => batch.completed++);
    this.#batches.add(batch);
    this.#untaken.push(...frames);
    this.#waiting = batch;
  }

  #trySend(): void {
    const frame: Frame = { serial: this.#serial, fate: 'open' };
    const sent = this.#sender.trySend(numberedFrame(frame.serial, this.#random.between(14, this.#longest)));
    if (!sent) return;
    assert.equal(this.#stillWaiting(), undefined, 'nothing overtakes what waits');
    this.#serial++;
    this.#untaken.push(frame);
    this.#batches.add({
      frames: [frame],
      submission: undefined,
      abort: undefined,
      wrong: -1,
      accepted: 'resolved',
      completed: 0,
    });
  }

  /** The device takes some of what it is shown: what was submitted, in that order. */
  #take(): void {
    for (let i = this.#random.between(1, 4); i > 0; i--) {
      const taken = this.#on.take();
      if (taken === undefined) break;
      this.#dropSettled();
      const frame = this.#untaken.shift();
      assert.equal(Buffer.from(taken.frame).readUInt32BE(0), frame?.serial);
      this.#taken.set(taken.head, frame!);
    }
    this.#on.device.suppressKicks(false);
  }

  /** The device is done with some, in any order. */
  #complete(): void {
    const heads = [...this.#taken.keys()];
    for (let i = this.#random.between(1, 4); i > 0 && heads.length > 0; i--)
      this.#return(this.#random.draw(heads));
    this.#on.device.publish();
    this.#called ||= this.#on.device.shouldCall();
  }

  #return(head: number): void {
    this.#on.device.complete(head, 0);
    this.#taken.get(head)!.fate = 'returned';
    this.#taken.delete(head);
    this.#returned++;
  }

  #abort(): void {
    const waiting = this.#stillWaiting();
    if (waiting?.abort !== undefined && this.#random.oneIn(2)) {
      waiting.abort.abort(new Error('aborted'));
      this.#withdraw(waiting);
    }
    for (const drain of this.#drains) if (this.#random.oneIn(4)) drain.abort.abort(new Error('aborted'));
  }

  #drain(): void {
    const drain: Drain = { abort: new AbortController(), state: 'pending' };
    this.#drains.add(drain);
    this.#sender.drain({ signal: drain.abort.signal }).then(
      () => {
        drain.state = 'resolved';
      },
      () => {
        drain.state = 'rejected';
      },
    );
  }

  /** The device lets go of some of what it has taken, or all, and another goes on where it stopped. */
  #swap(): void {
    this.#returnSome();
    const { queue, device } = this.#on;
    for (const frame of this.#taken.values()) this.#abandon(frame);
    this.#taken.clear();
    queue.settle(device.availableIndex);
    this.#sender.looksAgain();
    this.#on.reattach();
    this.#sender.looksAgain();
  }

  /** The queue stops on an error, and starts again. */
  #fail(): void {
    this.#sender.stop(new Error('failed'));
    this.#withdraw(this.#waiting);
    this.#returnSome();
    this.#settleAll();
    this.#sender.resume();
    this.#on.reattach();
    this.#sender.looksAgain();
  }

  /** Calls come, rounds end, promises settle. */
  async #turn(): Promise<void> {
    if (this.#called) {
      this.#called = false;
      this.#sender.called();
    }
    await turn();
    const waiting = this.#stillWaiting();
    const { inFlight } = this.#on.queue.ledger;
    for (const drain of this.#drains) {
      if (drain.state !== 'pending') this.#drains.delete(drain);
      else assert.ok(inFlight > 0 || waiting !== undefined, 'a drain ends when there is nothing to wait for');
    }
    for (const batch of this.#batches) {
      this.#checkBatch(batch);
      const { submission } = batch;
      if (submission !== undefined) {
        const over = submission.pending === 0;
        assert.equal(batch.completed, over ? 1 : 0);
        const withdrawn = batch.frames.some(({ fate }) => fate === 'withdrawn');
        const accepted =
          submission.posted === submission.size ? 'resolved' : withdrawn ? 'rejected' : 'pending';
        assert.equal(batch.accepted, accepted);
        if (!over) continue;
        this.#posted += submission.posted;
      } else if (batch.frames[0]!.fate === 'open') continue;
      else this.#posted++;
      this.#batches.delete(batch);
      this.ended++;
    }
  }

  #checkBatch(batch: Batch): void {
    this.#noteRefusal(batch);
    const { frames, submission } = batch;
    if (submission === undefined) return;
    for (const [i, { fate }] of frames.entries()) {
      const status: number = submission.status[i]!;
      if (fate === 'withdrawn') assert.equal(status, FrameStatus.withdrawn);
      else if (fate === 'abandoned') assert.equal(status, FrameStatus.abandoned);
      else if (fate === 'returned')
        assert.ok(status === FrameStatus.inFlight || status === FrameStatus.completed);
      else assert.equal(status, i < submission.posted ? FrameStatus.inFlight : FrameStatus.waiting);
    }
  }

  /** The batch that waits for room, if one does. */
  #stillWaiting(): Batch | undefined {
    const waiting = this.#waiting;
    if (waiting !== undefined) this.#noteRefusal(waiting);
    const { posted, size, refused } = waiting?.submission ?? { posted: 0, size: 0, refused: false };
    if (posted === size || refused) this.#waiting = undefined;
    return this.#waiting;
  }

  /** Where nobody withdrew the rest of a batch, only a frame that breaks a rule can have. */
  #noteRefusal(batch: Batch): void {
    const { submission, frames, wrong } = batch;
    if (!submission?.refused || frames.at(-1)!.fate === 'withdrawn') return;
    assert.equal(submission.posted, wrong);
    this.#withdraw(batch);
  }

  #withdraw(batch: Batch | undefined): void {
    if (batch === undefined) return;
    for (const frame of batch.frames.slice(batch.submission!.posted)) frame.fate = 'withdrawn';
    if (this.#waiting === batch) this.#waiting = undefined;
  }

  #abandon(frame: Frame): void {
    frame.fate = 'abandoned';
    this.#abandoned++;
  }

  #returnSome(): void {
    for (const head of [...this.#taken.keys()]) if (!this.#random.oneIn(4)) this.#return(head);
    this.#on.device.publish();
  }

  /** Nothing is in flight any more. */
  #settleAll(): void {
    this.#dropSettled();
    for (const frame of [...this.#taken.values(), ...this.#untaken])
      if (frame.fate === 'open') this.#abandon(frame);
    this.#taken.clear();
    this.#untaken = [];
    this.#on.queue.settle();
  }

  #dropSettled(): void {
    for (const batch of this.#batches) this.#noteRefusal(batch);
    this.#untaken = this.#untaken.filter(({ fate }) => fate !== 'withdrawn');
  }
}

describe('Sender, queue, ring, ledger and pool against a naive reference', function () {
  this.timeout(3_600_000);

  property(
    'settle each frame once, whatever is submitted, completed, aborted, drained, swapped and closed',
    async (random) => {
      let left = runs(long ? 1_000_000 : 10_000);
      let ended = 0;
      const before = left;
      while (left > 0) {
        const world = new World(random);
        for (let i = Math.min(left, random.between(100, 2000)); i > 0; i--, left--) {
          await world.step();
          world.check();
          if (i % 16 === 0) world.checkAll();
        }
        await world.close();
        ended += world.ended;
      }
      assert.ok(ended > before / 20, `${ended} submissions came to an end`);
    },
  );
});
