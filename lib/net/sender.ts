import { VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import type { Budget } from '../completion/budget.js';
import { Submission } from '../completion/submission.js';
import { checkWaitOptions, Waiters, type WaitOptions } from '../completion/waiters.js';
import { wrongType } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { NetHeader } from './header.js';
import type { TransmitQueue } from './transmit-queue.js';
import { writeFrame } from './write-frame.js';

export interface SendOptions extends WaitOptions {
  /** What each frame leaves to the other side; nothing by default. */
  readonly header?: NetHeader;
}

const sendOptions = ['header', 'signal'] as const;
/** For the many calls without any, which there is nothing to check in. */
const noOptions: SendOptions = {};

/** Frames that wait for room, one submission at a time. */
interface Waiting {
  readonly submission: Submission;
  readonly frames: readonly Uint8Array[];
  readonly header: NetHeader | undefined;
}

/** The friendly tier of transmission: copies frames into buffers, waits for room, reaps in rounds. */
export class Sender {
  readonly #queue: TransmitQueue;
  readonly #budget: Budget;
  readonly #mostBuffers: number;
  readonly #released: () => void;
  readonly #idle = new Waiters();
  /** Those who wait for some frames to be settled. */
  readonly #progress = new Waiters();
  #waiting: Waiting | undefined;
  #round: NodeJS.Immediate | undefined;
  /** Frames of this tier may be in flight; until then the queue is the ring tier's alone. */
  #active = false;
  #refusal: Error | undefined;
  /** Nothing will ever be sent again. */
  #ended = false;
  /** Times that frames had to wait for room in the ring or in the pool, or were refused for want of it. */
  fullWaits = 0;

  /**
   * No frame may take more than `mostBuffers`. `released` is told when buffers came back. Whoever the queue tells of a lie
   * in its ring calls `stop`.
   */
  constructor(queue: TransmitQueue, budget: Budget, mostBuffers: number, released: () => void) {
    this.#queue = queue;
    this.#budget = budget;
    this.#mostBuffers = mostBuffers;
    this.#released = released;
  }

  trySend(frame: Uint8Array, header?: NetHeader): boolean {
    const sent = this.#sendNow(frame, header);
    if (!sent) this.fullWaits++;
    return sent;
  }

  /** Resolves once the frame is posted; nothing is to be waited for where there is room. */
  send(frame: Uint8Array, options: SendOptions = noOptions): Promise<void> | undefined {
    if (options !== noOptions) checkWaitOptions(options, sendOptions);
    options.signal?.throwIfAborted();
    return this.#sendNow(frame, options.header) ? undefined : this.submit([frame], options).accepted;
  }

  submit(frames: readonly Uint8Array[], options: SendOptions = noOptions): Submission {
    this.#usable();
    if (!Array.isArray(frames)) throw wrongType('frames', 'an array of Uint8Array', frames);
    // The name of a frame is made only where it is told; as many names as frames would cost more than their copies.
    for (let i = 0; i < frames.length; i++)
      if (!(frames[i] instanceof Uint8Array)) throw wrongType(`frames[${i}]`, 'a Uint8Array', frames[i]);
    if (options !== noOptions) checkWaitOptions(options, sendOptions);
    const { signal, header } = options;
    signal?.throwIfAborted();
    if (this.#waiting !== undefined)
      throw new VhostError(
        'ERR_VHOST_QUEUE_FULL',
        'frames submitted before still wait for room; await `accepted` (or `send`) before the next',
        { queue: VHOST_NET_VQ_TX },
      );
    const submission = new Submission(frames.length);
    this.#waiting = { submission, frames, header };
    let refusal = this.makeRoom();
    // A call that wakes the loop costs more than a look, where looking pays.
    while (this.#waiting !== undefined && this.#queue.calls.look() && this.#take() > 0)
      refusal = this.makeRoom();
    if (refusal !== undefined && submission.posted === 0) throw refusal;
    if (this.#waiting === undefined) return submission;
    this.fullWaits++;
    this.#expectCall();
    if (signal !== undefined) {
      const withdraw = (): void => this.#withdraw(signal.reason, submission);
      signal.addEventListener('abort', withdraw, { once: true });
      submission.accepted.catch(() => {}).finally(() => signal.removeEventListener('abort', withdraw));
    }
    return submission;
  }

  async drain(options: WaitOptions = {}): Promise<void> {
    checkWaitOptions(options);
    for (;;) {
      this.reap();
      // What that found may have stopped the queue.
      this.#usable();
      if (this.#drained) return;
      this.#active = true;
      await this.#idle.wait(options);
    }
  }

  /** Resolves when every frame that is in flight now is settled, whatever is posted meanwhile. */
  async settled(options: WaitOptions = {}): Promise<void> {
    const { ledger } = this.#queue;
    const { submitted } = ledger;
    for (;;) {
      this.reap();
      this.#usable();
      if (!ledger.anyOfFirst(submitted)) return;
      this.#active = true;
      await this.#progress.wait(options);
    }
  }

  /** The device called, in a turn of the loop of its own. */
  called(): void {
    if (this.#active) this.#beginRound();
  }

  /** The queue was stopped or started: what it returned meanwhile no call may tell of. */
  looksAgain(): void {
    if (this.#active) this.reap();
  }

  /** Reaps what is done: ends where the budget of the round does, and goes on in the next turn of the loop. */
  reap(): void {
    if (this.#refusal !== undefined) return;
    const { ring, ledger } = this.#queue;
    do {
      while (this.#take() > 0);
      // What that found may have stopped the queue.
      if (this.#refusal !== undefined) return;
    } while (this.#budget.left > 0 && ledger.inFlight > 0 && ring.enableCalls());
    this.makeRoom();
    this.#released();
    this.#progress.wake();
    if (!this.#drained) return;
    this.#active = false;
    this.#idle.wake();
  }

  /** Posts frames that waited for room, where there is some; the error where one breaks a rule, which ends the wait. */
  makeRoom(): unknown {
    const waiting = this.#waiting;
    if (waiting === undefined) return undefined;
    const { submission } = waiting;
    const refusal = this.#postWaiting(waiting);
    if (this.#waiting === waiting && (refusal !== undefined || submission.posted === submission.size))
      this.#waiting = undefined;
    return refusal;
  }

  /** Ends every wait with an error and refuses whatever comes, until `resume`. */
  stop(error: Error): void {
    this.#refusal = error;
    clearImmediate(this.#round);
    this.#round = undefined;
    this.#withdraw(error);
    this.#idle.fail(error);
    this.#progress.fail(error);
    this.#queue.calls.stop(error);
  }

  /** Ends every wait with an error and refuses whatever comes, for good. */
  end(error: Error): void {
    this.#ended = true;
    this.stop(error);
  }

  /** Takes frames again after `stop`. */
  resume(): void {
    if (this.#ended) return;
    this.#refusal = undefined;
    this.#queue.calls.resume();
  }

  readonly #beginRound = (): void => {
    clearImmediate(this.#round);
    this.#round = undefined;
    this.#budget.renew();
    this.reap();
  };

  /** Reaps what the budget leaves; how many frames. Where that is none, another round is to come. */
  #take(): number {
    const queue = this.#queue;
    const budget = this.#budget;
    const count = queue.reap(budget.left, budget.bytesLeft);
    budget.spend(count, queue.bytes);
    if (budget.left === 0) this.#round ??= setImmediate(this.#beginRound);
    return count;
  }

  #sendNow(frame: Uint8Array, header: NetHeader | undefined): boolean {
    this.#usable();
    if (!(frame instanceof Uint8Array)) throw wrongType('frame', 'a Uint8Array', frame);
    if (this.#waiting !== undefined || this.#post(frame, header) === -1) return false;
    this.#flush();
    return true;
  }

  get #drained(): boolean {
    return this.#queue.ledger.inFlight === 0 && this.#waiting === undefined;
  }

  #usable(): void {
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  /** Posts what there is room for; the error where a frame breaks a rule, in which case no more are posted. */
  #postWaiting({ submission, frames, header }: Waiting): unknown {
    const before = submission.posted;
    try {
      while (submission.posted < submission.size) {
        const head = this.#post(frames[submission.posted]!, header);
        if (head === -1) break;
        this.#queue.ledger.assign(head, submission, submission.post());
      }
      return undefined;
    } catch (error) {
      submission.withdraw(error);
      return error;
    } finally {
      if (submission.posted > before) this.#flush();
    }
  }

  /** Copies a frame into buffers and posts it; its head, or -1 where there is no room. */
  #post(frame: Uint8Array, header: NetHeader | undefined): number {
    const queue = this.#queue;
    // Submissions tell how long each of their frames took.
    queue.ledger.timeEvery = 1;
    for (let reaped = false; ; reaped = true) {
      const first = writeFrame(queue.pool, frame, header, this.#mostBuffers);
      let head = -1;
      try {
        if (first !== -1) head = queue.post(first);
      } finally {
        if (first !== -1 && head === -1) queue.pool.releaseFrame(first);
      }
      if (head !== -1 || reaped || this.#take() === 0 || this.#refusal !== undefined) return head;
    }
  }

  #flush(): void {
    this.#queue.flush();
    this.#expectCall();
  }

  #expectCall(): void {
    this.#active = true;
    if (this.#queue.ring.enableCalls()) this.#round ??= setImmediate(this.#beginRound);
  }

  #withdraw(reason: unknown, submission: Submission | undefined = this.#waiting?.submission): void {
    if (this.#waiting === undefined || this.#waiting.submission !== submission) return;
    this.#waiting = undefined;
    submission.withdraw(reason);
  }
}
