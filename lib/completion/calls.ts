import type { DriverRing } from '../vring/driver-ring.js';
import { BusyPoll } from './busy-poll.js';
import { checkWaitOptions, Waiters, type WaitOptions } from './waiters.js';

/** What is asked of a ring, or of several together. */
export type CallingRing = Pick<DriverRing, 'reapable' | 'enableCalls' | 'corruption'>;

/** Times in a row that looking was enough before the loop has a turn: timers and other queues wait for it. */
const LOOKS_PER_TURN = 64;

/** Those who wait for the device to call on a ring, which it does when it is asked to. */
export class Calls extends Waiters {
  readonly #ring: CallingRing;
  readonly #busyPoll: BusyPoll;
  #found = 0;

  constructor(ring: CallingRing, busyPoll = new BusyPoll()) {
    super();
    this.#ring = ring;
    this.#busyPoll = busyPoll;
  }

  /** Resolves when there is something to reap: looks for it while that pays, then asks for a call and sleeps. */
  async ready(options: WaitOptions = {}): Promise<void> {
    checkWaitOptions(options);
    options.signal?.throwIfAborted();
    const ring = this.#ring;
    if (this.#busyPoll.look(ring)) {
      if (++this.#found % LOOKS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      return;
    }
    while (!ring.enableCalls() && ring.corruption === undefined) await this.wait(options);
    this.#busyPoll.woke();
  }
}
