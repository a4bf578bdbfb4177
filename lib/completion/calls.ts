import { checkInteger } from '../errors/check.js';
import type { DriverRing } from '../vring/driver-ring.js';
import { BusyPoll } from './busy-poll.js';
import { checkWaitOptions, Waiters, type WaitOptions } from './waiters.js';

export interface ReadyOptions extends WaitOptions {
  /**
   * Milliseconds that what comes may wait for more to come, so that one wake-up serves many; 0 by default. What ends a
   * silence longer than that does not wait.
   */
  readonly within?: number | undefined;
}

const readyOptions = ['within', 'signal'] as const;

/** What is asked of a ring, or of several together. */
export type CallingRing = Pick<DriverRing, 'reapable' | 'enableCalls' | 'disableCalls' | 'corruption'>;

/** Milliseconds for which nobody may have to sleep before the loop has a turn: timers and other queues wait for it. */
const LONGEST_STREAK = 10;

/** Those who wait for the device to call on a ring, which it does when it is asked to. */
export class Calls extends Waiters {
  readonly #ring: CallingRing;
  readonly #busyPoll: BusyPoll;
  readonly #clock: () => number;
  /** When the loop had its last turn. */
  #turnedAt = 0;
  /** Something came lately, so that more may come soon. */
  #lively = false;
  #refusal: Error | undefined;

  /** `clock`: milliseconds, monotonic. */
  constructor(
    ring: CallingRing,
    busyPoll = new BusyPoll(),
    clock: () => number = performance.now.bind(performance),
  ) {
    super();
    this.#ring = ring;
    this.#busyPoll = busyPoll;
    this.#clock = clock;
  }

  /**
   * Resolves when there is something to reap: looks for it while that pays, then asks for a call and sleeps. Rejects where
   * the ring stands or nothing is to be waited for any more.
   */
  async ready(options: ReadyOptions = {}): Promise<void> {
    checkWaitOptions(options, readyOptions);
    const { within = 0, ...wait } = options;
    checkInteger('within', within, 0, 2 ** 31 - 1);
    options.signal?.throwIfAborted();
    this.#check();
    let slept = false;
    if (within > 0 && this.#lively) {
      await this.#rest(within, wait);
      slept = true;
    }
    if (!this.look()) {
      for (; !this.#ring.enableCalls(); slept = true) {
        this.#check();
        await this.wait(wait);
      }
      this.#busyPoll.woke();
    }
    this.#lively = true;
    if (!slept && this.#clock() - this.#turnedAt < LONGEST_STREAK) return;
    if (!slept) await new Promise((resolve) => setImmediate(resolve));
    this.#turnedAt = this.#clock();
  }

  /** Whether there is something to reap now, or so soon that looking for it pays. Asks for nothing and gives the loop no turn. */
  look(): boolean {
    return this.#ring.reapable > 0 || this.#busyPoll.look(this.#ring);
  }

  override wake(): void {
    this.#busyPoll.woke();
    super.wake();
  }

  /** Ends every wait with an error, and refuses others until `resume`. */
  stop(error: Error): void {
    this.#refusal = error;
    this.fail(error);
  }

  /** Lets be waited again after `stop`. */
  resume(): void {
    this.#refusal = undefined;
  }

  /** Waits without a call. */
  async #rest(milliseconds: number, options: WaitOptions): Promise<void> {
    this.#ring.disableCalls();
    const timer = setTimeout(() => this.wake(), milliseconds);
    // Whether the loop goes on is for what calls to say.
    timer.unref();
    try {
      await this.wait(options);
    } finally {
      clearTimeout(timer);
    }
  }

  #check(): void {
    const error = this.#refusal ?? this.#ring.corruption;
    if (error !== undefined) throw error;
  }
}
