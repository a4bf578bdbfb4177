import type { DriverRing } from '../vring/driver-ring.js';
import { BusyPoll } from './busy-poll.js';
import { checkWaitOptions, Waiters, type WaitOptions } from './waiters.js';

/** What is asked of a ring, or of several together. */
export type CallingRing = Pick<DriverRing, 'reapable' | 'enableCalls' | 'corruption'>;

/** Times in a row that nobody had to sleep before the loop has a turn: timers and other queues wait for it. */
const FOUND_PER_TURN = 64;

/** Those who wait for the device to call on a ring, which it does when it is asked to. */
export class Calls extends Waiters {
  readonly #ring: CallingRing;
  readonly #busyPoll: BusyPoll;
  /** Times in a row that there was something at once. */
  #found = 0;
  #refusal: Error | undefined;

  constructor(ring: CallingRing, busyPoll = new BusyPoll()) {
    super();
    this.#ring = ring;
    this.#busyPoll = busyPoll;
  }

  /**
   * Resolves when there is something to reap: looks for it while that pays, then asks for a call and sleeps. Rejects where
   * the ring stands or nothing is to be waited for any more.
   */
  async ready(options: WaitOptions = {}): Promise<void> {
    checkWaitOptions(options);
    options.signal?.throwIfAborted();
    this.#check();
    let slept = false;
    if (!this.#busyPoll.look(this.#ring)) {
      for (; !this.#ring.enableCalls(); slept = true) {
        this.#check();
        await this.wait(options);
      }
      this.#busyPoll.woke();
    }
    this.#found = slept ? 0 : this.#found + 1;
    if (this.#found < FOUND_PER_TURN) return;
    this.#found = 0;
    await new Promise((resolve) => setImmediate(resolve));
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

  #check(): void {
    const error = this.#refusal ?? this.#ring.corruption;
    if (error !== undefined) throw error;
  }
}
