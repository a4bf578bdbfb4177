import { EventEmitter } from 'node:events';
import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import type { Backend } from '../backend/backend.js';
import type { Budget } from '../completion/budget.js';
import { Submission } from '../completion/submission.js';
import { Waiters, type WaitOptions } from '../completion/waiters.js';
import { checkInteger, wrongType } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { FramePool } from '../memory/frame-pool.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { NetHeader } from './header.js';
import { type NicOptions, type NicParts, openParts } from './nic-open.js';
import type { QueuePair } from './queue-pair.js';
import { type QueueEvents, type QueueStats, queueStats } from './queue-stats.js';
import { ReceiveBatch } from './receive-batch.js';
import type { ReceiveQueue } from './receive-queue.js';
import type { Teardown } from './teardown.js';
import type { TransmitQueue } from './transmit-queue.js';
import { writeFrame } from './write-frame.js';

export interface SendOptions extends WaitOptions {
  /** What each frame leaves to the other side; nothing by default. */
  readonly header?: NetHeader;
}

export interface ReceiveOptions extends WaitOptions {
  /** The most receive buffers that one batch takes; 64 by default. */
  readonly limit?: number;
}

/** A snapshot of a `Nic`; `receive` counts buffers and, beside them, frames. */
export interface NicStats {
  readonly receive: QueueStats & { readonly frames: number; readonly bytes: number };
  readonly transmit: QueueStats;
}

interface NicEventMap {
  /** A queue stopped: `error.code` says why, `error.queue` which. The rest of the `Nic` goes on. */
  error: [error: Error];
  close: [];
}

/** Frames that wait for room, one submission at a time. */
interface Waiting {
  readonly submission: Submission;
  readonly frames: readonly Uint8Array[];
  readonly header: NetHeader | undefined;
}

/**
 * A network interface whose cable ends in this program: a vhost device, its queues and a backend.
 *
 * The friendly tier is `send`, `submit`, `receive`, `drain` and `close`; `tx` and `rx` are its ring tier.
 */
export class Nic extends EventEmitter<NicEventMap> {
  readonly #pair: QueuePair;
  readonly #memory: GuestMemory;
  readonly #budget: Budget;
  readonly #teardown: Teardown;
  #backend: Backend;
  readonly #events: readonly [QueueEvents, QueueEvents] = [newEvents(), newEvents()];
  readonly #arrival = new Waiters();
  readonly #idle = new Waiters();
  readonly #failures: (Error | undefined)[] = [undefined, undefined];
  #waiting: Waiting | undefined;
  #round: NodeJS.Immediate | undefined;
  #receiving = false;
  #closing: Promise<void> | undefined;

  private constructor(parts: NicParts) {
    super();
    this.#pair = parts.pair;
    this.#backend = parts.backend;
    this.#memory = parts.memory;
    this.#budget = parts.budget;
    this.#teardown = parts.teardown;
  }

  /** Opens a device and a backend and starts both queues. Where a step fails, nothing stays open. */
  static async open(options: NicOptions): Promise<Nic> {
    let nic: Nic | undefined;
    const parts = await openParts(options, {
      called: (queue, count) => {
        if (nic !== undefined) nic.#called(queue, count);
      },
      failed: (queue) => {
        if (nic !== undefined) nic.#reported(queue);
      },
    });
    try {
      nic = new Nic(parts);
      await nic.#start();
      return nic;
    } catch (error) {
      nic = undefined;
      await parts.teardown.run();
      throw error;
    }
  }

  /** The ring tier of transmission. */
  get tx(): TransmitQueue {
    return this.#pair.transmit;
  }

  /** The ring tier of reception. */
  get rx(): ReceiveQueue {
    return this.#pair.receive;
  }

  /** The buffers that both queues lease. */
  get pool(): FramePool {
    return this.#pair.transmit.pool;
  }

  /** The memory that the device reaches. */
  get memory(): GuestMemory {
    return this.#memory;
  }

  get backend(): Backend {
    return this.#backend;
  }

  /** The name of the interface. */
  get name(): string {
    return this.#backend.interface.name;
  }

  /** The feature bits agreed with the device. */
  get features(): bigint {
    return this.#pair.features;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Sends one Ethernet frame: resolves once it is posted, so that the caller's bytes are free; waits while there is no
   * room. While one call waits another is refused with ERR_VHOST_QUEUE_FULL, so that nothing queues without bound.
   */
  async send(frame: Uint8Array, options: SendOptions = {}): Promise<void> {
    await this.submit([frame], options).accepted;
  }

  /** Sends one Ethernet frame if there is room now; false where there is none. */
  trySend(frame: Uint8Array, header?: NetHeader): boolean {
    this.#usable(VHOST_NET_VQ_TX);
    checkFrame('frame', frame);
    if (this.#waiting !== undefined) return false;
    if (this.#postFrame(frame, header) === -1) return false;
    this.#flush();
    return true;
  }

  /**
   * Posts Ethernet frames in one publish and with one kick, as many as there is room for and the rest as room comes.
   * The submission tells when all are posted (`accepted`; until then their bytes are not the caller's to change) and
   * when the fate of each is known (`completed`). An abort withdraws the frames that are not posted yet.
   */
  submit(frames: readonly Uint8Array[], options: SendOptions = {}): Submission {
    this.#usable(VHOST_NET_VQ_TX);
    if (!Array.isArray(frames)) throw wrongType('frames', 'an array of Uint8Array', frames);
    for (const [i, frame] of frames.entries()) checkFrame(`frames[${i}]`, frame);
    const { signal, header } = options;
    signal?.throwIfAborted();
    if (this.#waiting !== undefined)
      throw new VhostError(
        'ERR_VHOST_QUEUE_FULL',
        'frames submitted before still wait for room; await `accepted` (or `send`) before the next',
        { queue: VHOST_NET_VQ_TX },
      );
    const waiting = { submission: new Submission(frames.length), frames, header };
    const { submission } = waiting;
    if (this.#postWaiting(waiting)) return submission;
    this.#waiting = waiting;
    if (signal !== undefined) {
      const withdraw = (): void => this.#withdraw(signal.reason, submission);
      signal.addEventListener('abort', withdraw, { once: true });
      submission.accepted.catch(() => {}).finally(() => signal.removeEventListener('abort', withdraw));
    }
    return submission;
  }

  /**
   * Received frames in batches, for `for await`. Ends when the `Nic` closes, throws where its queue fails. Only one
   * iteration runs at a time; frames that nobody takes wait in the kernel and are dropped there.
   */
  async *receive(options: ReceiveOptions = {}): AsyncGenerator<ReceiveBatch, void, void> {
    const { signal } = options;
    const limit = checkInteger('limit', options.limit ?? 64, 1, 2 ** 16);
    this.#usable(VHOST_NET_VQ_RX);
    if (this.#receiving)
      throw new VhostError('ERR_VHOST_IN_USE', 'another iteration receives already; end it first', {
        queue: VHOST_NET_VQ_RX,
      });
    this.#receiving = true;
    const { rx } = this;
    let left = this.#budget.frames;
    try {
      while (!this.closed) {
        signal?.throwIfAborted();
        const count = rx.reap(Math.min(limit, left));
        if (count > 0) {
          const batch = new ReceiveBatch(rx, count, this.#released);
          try {
            yield batch;
          } finally {
            if (!batch.kept) batch.release();
          }
          left -= count;
          if (left > 0) continue;
          // The budget: whoever else waits for the loop has its turn before the next frames.
          await new Promise((resolve) => setImmediate(resolve));
          left = this.#budget.frames;
          continue;
        }
        if (rx.corruption !== undefined) await this.#fail(VHOST_NET_VQ_RX, rx.corruption);
        this.#usable(VHOST_NET_VQ_RX);
        if (rx.ring.enableCalls()) continue;
        await this.#arrival.wait({ signal });
        left = this.#budget.frames;
      }
    } catch (error) {
      if (!this.closed) throw error;
    } finally {
      this.#receiving = false;
    }
  }

  /** Resolves when no frame is in flight and none waits for room. */
  async drain(options: WaitOptions = {}): Promise<void> {
    for (;;) {
      this.#usable(VHOST_NET_VQ_TX);
      this.#reapTransmitted();
      if (this.tx.ledger.inFlight === 0 && this.#waiting === undefined) return;
      await this.#idle.wait(options);
    }
  }

  /** A snapshot of the counters. */
  stats(): NicStats {
    const { rx, tx } = this;
    const { linkState } = this.#backend;
    return {
      receive: {
        // Reception never waits for the network stack: the kernel copies into the buffer and returns it.
        ...queueStats(rx, this.#events[VHOST_NET_VQ_RX], 'sync', 0),
        frames: rx.frameCount,
        bytes: rx.byteCount,
      },
      transmit: queueStats(tx, this.#events[VHOST_NET_VQ_TX], linkState, tx.fullWaits),
    };
  }

  /** Keeps the loop alive while the `Nic` is open (the default). */
  ref(): this {
    this.#pair.ref();
    return this;
  }

  /** Lets the program end with the `Nic` open. */
  unref(): this {
    this.#pair.unref();
    return this;
  }

  /**
   * Stops both queues, waits for the device to let go of every buffer, settles every frame in flight as completed or
   * abandoned and ends every wait; then closes the device, the backend and the memory. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #start(): Promise<void> {
    this.rx.refill();
    for (const queue of [VHOST_NET_VQ_RX, VHOST_NET_VQ_TX]) await this.#pair.attach(queue, this.#backend.fd);
  }

  async #close(): Promise<void> {
    const closed = new VhostError('ERR_VHOST_CLOSED', `the Nic on ${this.name} was closed`);
    clearImmediate(this.#round);
    this.#withdraw(closed);
    this.#arrival.wake();
    try {
      await this.#teardown.run();
    } finally {
      this.#idle.fail(closed);
      this.emit('close');
    }
  }

  #usable(queue: number): void {
    if (this.closed) throw new VhostError('ERR_VHOST_CLOSED', `the Nic on ${this.name} is closed`);
    const failure = this.#failures[queue];
    if (failure !== undefined) throw failure;
  }

  #called(queue: number, count: number): void {
    if (this.closed) return;
    const events = this.#events[queue]!;
    events.calls += count;
    events.wakeups++;
    if (queue === VHOST_NET_VQ_RX) this.#arrival.wake();
    else this.#reapTransmitted();
  }

  #reported(queue: number): void {
    if (this.closed) return;
    const gone = !this.#backend.alive();
    const error = gone
      ? new VhostError('ERR_VHOST_BACKEND_GONE', `the interface ${this.name} is gone`, { queue })
      : new VhostError('ERR_VHOST_QUEUE_ERROR', `the device stopped on an error in queue ${queue}`, {
          queue,
        });
    const queues = gone ? [VHOST_NET_VQ_RX, VHOST_NET_VQ_TX] : [queue];
    for (const each of queues) void this.#fail(each, error);
  }

  /** Stops one queue for good, settles its frames, ends its waits with the error and tells of it. */
  async #fail(queue: number, error: Error): Promise<void> {
    if (this.#failures[queue] !== undefined) return;
    const told = this.#failures.includes(error);
    this.#failures[queue] = error;
    const { errors } = this.#events[queue]!;
    const { code } = error as VhostError;
    errors[code] = (errors[code] ?? 0) + 1;
    await this.#pair.detach(queue).catch((failure: unknown) => this.#tell(failure));
    if (this.closed) return;
    if (queue === VHOST_NET_VQ_RX) this.#arrival.fail(error);
    else {
      this.#withdraw(error);
      this.#idle.fail(error);
    }
    if (!told) this.#tell(error);
  }

  /** In a turn of its own, so that what a listener throws is an uncaught exception and disturbs nothing here. */
  #tell(error: unknown): void {
    setImmediate(() => this.emit('error', error as Error));
  }

  /** One round of reaping: ends at its budget and goes on in the next turn of the loop. */
  readonly #reapTransmitted = (): void => {
    clearImmediate(this.#round);
    this.#round = undefined;
    const { tx } = this;
    const budget = this.#budget;
    budget.renew();
    do {
      for (let count = tx.reap(budget.left); count > 0; count = tx.reap(budget.left))
        budget.spend(count, tx.bytes);
      if (tx.ring.corruption !== undefined) {
        void this.#fail(VHOST_NET_VQ_TX, tx.ring.corruption);
        return;
      }
      if (budget.left === 0) {
        this.#round = setImmediate(this.#reapTransmitted);
        break;
      }
    } while (tx.ledger.inFlight > 0 && tx.ring.enableCalls());
    this.#makeRoom();
    if (tx.ledger.inFlight === 0 && this.#waiting === undefined) this.#idle.wake();
  };

  readonly #released = (): void => {
    if (this.closed || this.#failures[VHOST_NET_VQ_RX] !== undefined) return;
    this.rx.refill();
    this.#makeRoom();
  };

  #makeRoom(): void {
    if (this.#waiting === undefined || this.closed) return;
    if (this.#postWaiting(this.#waiting)) this.#waiting = undefined;
  }

  /** Posts what there is room for; true where that was all. */
  #postWaiting({ submission, frames, header }: Waiting): boolean {
    const { ledger } = this.tx;
    const before = submission.posted;
    try {
      while (submission.posted < submission.size) {
        const head = this.#postFrame(frames[submission.posted]!, header);
        if (head === -1) break;
        ledger.assign(head, submission, submission.post());
      }
    } catch (error) {
      submission.withdraw(error);
      if (submission.posted === 0) throw error;
    } finally {
      if (submission.posted > before) this.#flush();
    }
    return submission.posted === submission.size || submission.refused;
  }

  /** Copies a frame into buffers and posts it; its head, or -1 where there is no room. */
  #postFrame(frame: Uint8Array, header: NetHeader | undefined): number {
    const { tx } = this;
    for (let reaped = false; ; reaped = true) {
      const first = writeFrame(tx.pool, frame, header);
      let head = -1;
      try {
        if (first !== -1) head = tx.post(first);
      } finally {
        if (first !== -1 && head === -1) tx.pool.releaseFrame(first);
      }
      if (head !== -1 || reaped || tx.reap() === 0) return head;
    }
  }

  #flush(): void {
    this.tx.flush();
    if (this.tx.ring.enableCalls()) this.#round ??= setImmediate(this.#reapTransmitted);
  }

  #withdraw(reason: unknown, submission: Submission | undefined = this.#waiting?.submission): void {
    if (this.#waiting === undefined || this.#waiting.submission !== submission) return;
    this.#waiting = undefined;
    submission.withdraw(reason);
  }
}

function newEvents(): QueueEvents {
  return { calls: 0, wakeups: 0, errors: {} };
}

function checkFrame(argument: string, frame: unknown): void {
  if (!(frame instanceof Uint8Array)) throw wrongType(argument, 'a Uint8Array', frame);
}
