import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import type { Backend, LinkState } from '../backend/backend.js';
import type { Budget } from '../completion/budget.js';
import type { WaitOptions } from '../completion/waiters.js';
import { tellPair, VhostError } from '../errors/errors.js';
import { HEADER_SIZE } from './header.js';
import type { QueuePair } from './queue-pair.js';
import { type PairSource, type QueueEvents, queueEvents } from './queue-stats.js';
import { Receiver } from './receiver.js';
import { Sender } from './sender.js';
import { LINK_OVERHEAD, MAX_SEGMENTED_FRAME } from './transmit-queue.js';

/** The queues of a pair, as its vhost device counts them. */
export const QUEUES = [VHOST_NET_VQ_RX, VHOST_NET_VQ_TX] as const;

/** What a round of each queue may take. */
export interface PairBudgets {
  readonly receive: Budget;
  readonly transmit: Budget;
}

export interface PairTrafficOptions {
  readonly index: number;
  readonly pair: QueuePair;
  readonly budgets: PairBudgets;
  /** The most buffers that a frame to send may take. */
  readonly mostBuffers: number;
  /** Buffers came back to the pool. */
  readonly released: () => void;
}

/** One queue pair at work: the friendly tier on its queues, what happened there, and why it stopped if it did. */
export class PairTraffic {
  readonly index: number;
  readonly pair: QueuePair;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly receiveBudget: Budget;
  /** Whether it takes part: frames are spread over it, and its queues run while the `Nic` is attached. */
  enabled = true;
  readonly #events: readonly [QueueEvents, QueueEvents] = [queueEvents(), queueEvents()];
  #linkState: LinkState = 'sync';
  readonly #failures: (Error | undefined)[] = [undefined, undefined];

  constructor(options: PairTrafficOptions) {
    const { index, pair, budgets, mostBuffers, released } = options;
    this.index = index;
    this.pair = pair;
    this.receiveBudget = budgets.receive;
    this.sender = new Sender(pair.transmit, budgets.transmit, mostBuffers, released);
    this.receiver = new Receiver(pair.receive, released);
  }

  /** What takes frames to send, where the pair does. */
  get toSend(): Sender {
    if (!this.enabled)
      throw new VhostError('ERR_VHOST_DISABLED', `queue pair ${this.index} is disabled; enable() it first`);
    return this.sender;
  }

  /** Whether it takes frames to send now. */
  get sends(): boolean {
    return this.enabled && this.#failures[VHOST_NET_VQ_TX] === undefined;
  }

  /** Whether a queue stopped on an error. */
  get failed(): boolean {
    return this.#failures.some((failure) => failure !== undefined);
  }

  /** The device called. */
  called(queue: number, count: number): void {
    const events = this.#events[queue]!;
    events.calls += count;
    events.wakeups++;
    if (queue === VHOST_NET_VQ_RX) this.receiver.calls.wake();
    else {
      this.pair.transmit.calls.wake();
      this.sender.called();
    }
  }

  /** Refuses a backend whose longest frame, a segment to be cut or not, the receive ring could never hold. */
  checkHolds(backend: Backend, segments: boolean): void {
    this.pair.receive.checkHolds(longestFrame(backend, segments));
  }

  /** How many receive buffers the longest frame of a backend takes. */
  buffersFor(backend: Backend): number {
    const { bufferSize } = this.pair.receive.pool;
    return Math.ceil((longestFrame(backend, isSegmented(backend)) + HEADER_SIZE) / bufferSize);
  }

  /** Starts both queues on the pair's own queue of a backend, with whatever is posted already. */
  async attach(backend: Backend): Promise<void> {
    const { pair } = this;
    await this.#telling(pair.prepare(backend));
    const { mtu } = backend.interface;
    const headed = backend.headerSize > 0;
    pair.transmit.checkCarries(mtu, headed);
    pair.transmit.mtu = mtu;
    pair.transmit.headed = headed;
    this.checkHolds(backend, isSegmented(backend));
    for (const queue of QUEUES) this.#failures[queue] = undefined;
    this.sender.resume();
    this.receiver.resume();
    // A ring that is empty when its backend comes would wait for a kick.
    pair.receive.refill();
    const fd = backend.queues[this.index]!;
    for (const queue of QUEUES) await this.#telling(pair.attach(queue, fd));
    this.#linkState = pair.linkState ?? backend.linkState;
    this.sender.looksAgain();
  }

  /** Stops queues and waits for the device to let go of their buffers; `settle` as in `QueuePair.detach`. */
  async detach(queues: readonly number[] = QUEUES, settle = false): Promise<void> {
    for (const queue of queues) await this.#telling(this.pair.detach(queue, settle));
    if (!settle) this.sender.looksAgain();
  }

  /** Resolves when every frame in flight now is settled, and every receive buffer returned that the device has taken. */
  async settled(options: WaitOptions): Promise<void> {
    const { sender, pair } = this;
    await Promise.all([sender.settled(options), this.#telling(pair.returned(VHOST_NET_VQ_RX, options))]);
  }

  /** Ends the waits of a queue with an error and refuses more, until `attach`; false where it had stopped already. */
  stop(queue: number, error: VhostError): boolean {
    if (this.#failures[queue] !== undefined) return false;
    this.#failures[queue] = error;
    const { errors } = this.#events[queue]!;
    errors[error.code] = (errors[error.code] ?? 0) + 1;
    if (queue === VHOST_NET_VQ_RX) this.receiver.stop(error);
    else this.sender.stop(error);
    return true;
  }

  /** Where its counters stand. */
  get counters(): PairSource {
    const { receive, transmit } = this.pair;
    const [received, transmitted] = this.#events;
    return {
      receive: { queue: receive, events: received, fullWaits: 0 },
      transmit: { queue: transmit, events: transmitted, fullWaits: this.sender.fullWaits },
      linkState: this.#linkState,
    };
  }

  #telling<T>(step: Promise<T>): Promise<T> {
    return step.catch((error: unknown) => {
      throw tellPair(error, this.index);
    });
  }
}

/** Bytes of the longest frame that comes from a backend. */
function longestFrame({ interface: { mtu } }: Backend, segments: boolean): number {
  return segments ? MAX_SEGMENTED_FRAME : mtu + LINK_OVERHEAD;
}

/** Whether it was agreed that segments come which are still to be cut. */
function isSegmented({ offloads }: Backend): boolean {
  return offloads.some((offload) => offload !== 'csum');
}
