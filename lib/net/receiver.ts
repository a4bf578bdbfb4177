import { VHOST_NET_VQ_RX } from '../abi/vhost-net.js';
import type { Budget } from '../completion/budget.js';
import type { WaitOptions } from '../completion/waiters.js';
import { checkInteger } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { ReceiveBatch } from './receive-batch.js';
import type { ReceiveQueue } from './receive-queue.js';

export interface ReceiveOptions extends WaitOptions {
  /** The most receive buffers that one batch takes; 64 by default. */
  readonly limit?: number;
}

/** The friendly tier of reception: batches for an iteration, at its pace. */
export class Receiver {
  readonly #queue: ReceiveQueue;
  readonly #budget: Budget;
  readonly #corrupted: (error: VhostError) => void;
  readonly #released: () => void;
  #receiving = false;
  #ended = false;
  #refusal: Error | undefined;

  /** `corrupted` is told when the device lied in the ring and then calls `stop`; `released`, when buffers came back. */
  constructor(
    queue: ReceiveQueue,
    budget: Budget,
    corrupted: (error: VhostError) => void,
    released: () => void,
  ) {
    this.#queue = queue;
    this.#budget = budget;
    this.#corrupted = corrupted;
    this.#released = (): void => {
      this.refill();
      released();
    };
  }

  async *receive(options: ReceiveOptions = {}): AsyncGenerator<ReceiveBatch, void, void> {
    const { signal } = options;
    const limit = checkInteger('limit', options.limit ?? 64, 1, 2 ** 16);
    if (this.#refusal !== undefined) throw this.#refusal;
    if (this.#receiving)
      throw new VhostError('ERR_VHOST_IN_USE', 'another iteration receives already; end it first', {
        queue: VHOST_NET_VQ_RX,
      });
    const queue = this.#queue;
    const budget = this.#budget;
    this.#receiving = true;
    budget.renew();
    try {
      while (!this.#ended) {
        signal?.throwIfAborted();
        if (budget.left === 0) {
          // Whoever else waits for the loop has its turn before the next frames.
          await new Promise((resolve) => setImmediate(resolve));
          budget.renew();
          continue;
        }
        const count = queue.reap(Math.min(limit, budget.left));
        if (count > 0) {
          budget.spend(count, queue.bytes);
          const batch = new ReceiveBatch(queue, count, this.#released);
          try {
            yield batch;
          } finally {
            // A batch that is kept does not come back: others take its place in the ring now, or none may ever.
            if (batch.kept) this.refill();
            else batch.release();
          }
          continue;
        }
        if (queue.corruption !== undefined) this.#corrupted(queue.corruption);
        if (this.#refusal !== undefined) throw this.#refusal;
        await queue.ready({ signal });
        budget.renew();
      }
    } catch (error) {
      if (!this.#ended || error !== this.#refusal) throw error;
    } finally {
      this.#receiving = false;
    }
  }

  /** Posts free buffers. */
  refill(): void {
    if (this.#refusal === undefined) this.#queue.refill();
  }

  /** Ends the iteration, with an error, and refuses another, until `resume`. */
  stop(error: Error): void {
    this.#refusal = error;
    this.#queue.calls.fail(error);
  }

  /** Ends the iteration as if nothing more will ever come, and refuses another. */
  end(error: Error): void {
    this.#refusal = error;
    this.#ended = true;
    this.#queue.calls.fail(error);
  }

  /** Receives again after `stop`. */
  resume(): void {
    this.#refusal = undefined;
  }
}
