import { VHOST_NET_VQ_RX } from '../abi/vhost-net.js';
import type { Budget } from '../completion/budget.js';
import type { CallingRing, Calls, ReadyOptions } from '../completion/calls.js';
import { checkWaitOptions } from '../completion/waiters.js';
import { checkInteger } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { DriverRing } from '../vring/driver-ring.js';
import { ReceiveBatch } from './receive-batch.js';
import type { ReceiveQueue } from './receive-queue.js';

export interface ReceiveOptions extends ReadyOptions {
  /** The most receive buffers that one batch takes; 64 by default. */
  readonly limit?: number;
}

const receiveOptions = ['limit', 'within', 'signal'] as const;

/** The friendly tier of reception on one queue: what an iteration takes, and why it takes no more. */
export class Receiver {
  /** An iteration takes from this queue. */
  receiving = false;
  /** Nothing more will ever come. */
  ended = false;
  /** Why nothing comes now, if so. */
  refusal: Error | undefined;
  readonly #queue: ReceiveQueue;
  readonly #released: () => void;

  /** `released` is told when buffers came back. Whoever the queue tells of a lie in its ring calls `stop`. */
  constructor(queue: ReceiveQueue, released: () => void) {
    this.#queue = queue;
    this.#released = released;
  }

  /** Frames that came in at most `limit` buffers; `undefined` where none did. */
  take(limit: number, budget: Budget): ReceiveBatch | undefined {
    const queue = this.#queue;
    const count = queue.reap(Math.min(limit, budget.left), budget.bytesLeft);
    budget.spend(count, queue.bytes);
    return count > 0 ? new ReceiveBatch(queue, count, this.#released) : undefined;
  }

  get ring(): DriverRing {
    return this.#queue.ring;
  }

  /** Those who wait for frames of this queue alone, or for it to stop. */
  get calls(): Calls {
    return this.#queue.calls;
  }

  /** Posts free buffers. */
  refill(): void {
    if (this.refusal === undefined) this.#queue.refill();
  }

  /** Ends the iteration, with an error, and refuses another, until `resume`. */
  stop(error: Error): void {
    this.refusal = error;
    this.calls.stop(error);
  }

  /** Ends the iteration as if nothing more will ever come, and refuses another. */
  end(error: Error): void {
    this.ended = true;
    this.stop(error);
  }

  /** Receives again after `stop`. */
  resume(): void {
    if (this.ended) return;
    this.refusal = undefined;
    this.calls.resume();
  }
}

/**
 * Received frames of all the queues in turn, at the pace of whoever iterates. A queue that stopped is passed over; the
 * iteration throws where all have. `calls` is woken, or fails with the reason, when a queue has frames or stops.
 */
export async function* receiveFrom(
  receivers: readonly Receiver[],
  budget: Budget,
  calls: Calls,
  options: ReceiveOptions = {},
): AsyncGenerator<ReceiveBatch, void, void> {
  checkWaitOptions(options, receiveOptions);
  const { signal, limit: most = 64, within } = options;
  const limit = checkInteger('limit', most, 1, 2 ** 16);
  throwWhereAllStopped(receivers);
  if (receivers.some(({ receiving }) => receiving))
    throw new VhostError('ERR_VHOST_IN_USE', 'another iteration receives already; end it first', {
      queue: VHOST_NET_VQ_RX,
    });
  for (const receiver of receivers) receiver.receiving = true;
  try {
    for (let turn = 0; !receivers.every(({ ended }) => ended); turn++) {
      signal?.throwIfAborted();
      if (budget.left === 0) {
        // Whoever else waits for the loop has its turn before the next frames.
        await new Promise((resolve) => setImmediate(resolve));
        budget.renew();
        continue;
      }
      // Each time another queue comes first, so that none waits for the others to run dry.
      let receiver = receivers[turn % receivers.length]!;
      let batch = receiver.take(limit, budget);
      for (let i = 1; i < receivers.length && batch === undefined; i++) {
        receiver = receivers[(turn + i) % receivers.length]!;
        batch = receiver.take(limit, budget);
      }
      if (batch !== undefined) {
        try {
          yield batch;
        } finally {
          // A batch that is kept does not come back: others take its place in the ring now, or none may ever.
          if (batch.kept) receiver.refill();
          else batch.release();
        }
        continue;
      }
      throwWhereAllStopped(receivers);
      try {
        await calls.ready({ signal, within });
      } catch (error) {
        // The queue stopped, of which the next turn makes what is right.
        if (!receivers.some(({ refusal }) => refusal === error)) throw error;
      }
    }
  } finally {
    for (const receiver of receivers) receiver.receiving = false;
  }
}

function throwWhereAllStopped(receivers: readonly Receiver[]): void {
  const [first] = receivers;
  if (receivers.every(({ refusal }) => refusal !== undefined)) throw first!.refusal;
}

/** The rings of several queues as one to wait for, those left out that have stopped. */
export class ReceivingRings implements CallingRing {
  readonly #receivers: readonly Receiver[];

  constructor(receivers: readonly Receiver[]) {
    this.#receivers = receivers;
  }

  get reapable(): number {
    let reapable = 0;
    for (const { refusal, ring } of this.#receivers) if (refusal === undefined) reapable += ring.reapable;
    return reapable;
  }

  get corruption(): VhostError | undefined {
    return this.#receivers.find(({ refusal, ring }) => refusal === undefined && ring.corruption)?.ring
      .corruption;
  }

  enableCalls(): boolean {
    let due = false;
    for (const { refusal, ring } of this.#receivers)
      if (refusal === undefined && ring.enableCalls()) due = true;
    return due;
  }

  disableCalls(): void {
    for (const { refusal, ring } of this.#receivers) if (refusal === undefined) ring.disableCalls();
  }
}
