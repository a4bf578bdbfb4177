import { EventEmitter } from 'node:events';
import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import type { Backend } from '../backend/backend.js';
import type { BackendOptions } from '../backend/open.js';
import type { DirtyLog } from '../completion/dirty-log.js';
import type { Submission } from '../completion/submission.js';
import type { WaitOptions } from '../completion/waiters.js';
import { VhostError } from '../errors/errors.js';
import type { FramePool } from '../memory/frame-pool.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Iotlb } from '../vhost/iotlb.js';
import type { BackendSlot } from './backend-slot.js';
import { backendChannel, callChannel, closeChannel, errorChannel, openChannel } from './diagnostics.js';
import type { NetHeader } from './header.js';
import { type NicOptions, type NicParts, openParts } from './nic-open.js';
import type { QueuePair } from './queue-pair.js';
import { type QueueEvents, type QueueStats, queueStats } from './queue-stats.js';
import type { ReceiveBatch } from './receive-batch.js';
import type { ReceiveQueue } from './receive-queue.js';
import { type ReceiveOptions, Receiver } from './receiver.js';
import { Sender, type SendOptions } from './sender.js';
import type { Teardown } from './teardown.js';
import { LINK_OVERHEAD, MAX_SEGMENTED_FRAME, type TransmitQueue } from './transmit-queue.js';

const QUEUES = [VHOST_NET_VQ_RX, VHOST_NET_VQ_TX] as const;

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

/**
 * A network interface whose cable ends in this program: a vhost device, its queues and a backend.
 *
 * The friendly tier is `send`, `submit`, `receive`, `drain` and `close`; `tx` and `rx` are its ring tier.
 */
export class Nic extends EventEmitter<NicEventMap> {
  /** The ring tier of transmission. */
  readonly tx: TransmitQueue;
  /** The ring tier of reception. */
  readonly rx: ReceiveQueue;
  /** The buffers that both queues lease. */
  readonly pool: FramePool;
  /** The memory that the device reaches. */
  readonly memory: GuestMemory;
  readonly #pair: QueuePair;
  readonly #slot: BackendSlot;
  readonly #teardown: Teardown;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #events: readonly [QueueEvents, QueueEvents] = [newEvents(), newEvents()];
  readonly #failures: (Error | undefined)[] = [undefined, undefined];
  /** Requests that stop and start queues follow one another. */
  #control: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor({ pair, slot, memory, budgets, teardown }: NicParts) {
    super();
    this.#pair = pair;
    this.#slot = slot;
    this.#teardown = teardown;
    this.tx = pair.transmit;
    this.rx = pair.receive;
    this.pool = pair.transmit.pool;
    this.memory = memory;
    const corrupted = (queue: number) => (error: VhostError) => this.#fail([queue], error);
    const mostBuffers = this.pool.count - this.rx.mostPosted;
    this.#sender = new Sender(this.tx, budgets.transmit, mostBuffers, corrupted(VHOST_NET_VQ_TX), () =>
      this.#receiver.refill(),
    );
    this.#receiver = new Receiver(this.rx, budgets.receive, corrupted(VHOST_NET_VQ_RX), () =>
      this.#sender.makeRoom(),
    );
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
      faulted: (error) => {
        if (nic !== undefined) nic.#faulted(error);
      },
      interfaceChanged: () => {
        if (nic !== undefined) nic.#interfaceChanged();
      },
    });
    try {
      nic = new Nic(parts);
      await nic.#attach();
    } catch (error) {
      nic = undefined;
      await parts.teardown.undo();
      throw error;
    }
    if (openChannel.hasSubscribers) openChannel.publish({ nic });
    return nic;
  }

  get backend(): Backend {
    return this.#slot.backend;
  }

  /** The name of the interface. */
  get name(): string {
    return this.backend.interface.name;
  }

  /** The feature bits agreed with the device. */
  get features(): bigint {
    return this.#pair.features;
  }

  /** Serves the device with translations, where the `Nic` was opened with `iommu`. */
  get iotlb(): Iotlb | undefined {
    return this.#pair.iotlb;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Sends one Ethernet frame: resolves once it is posted, so that the caller's bytes are free; waits while there is no
   * room. While one call waits another is refused with ERR_VHOST_QUEUE_FULL, so that nothing queues without bound.
   */
  async send(frame: Uint8Array, options?: SendOptions): Promise<void> {
    await this.#sender.submit([frame], options).accepted;
  }

  /** Sends one Ethernet frame if there is room now; false where there is none. */
  trySend(frame: Uint8Array, header?: NetHeader): boolean {
    return this.#sender.trySend(frame, header);
  }

  /**
   * Posts Ethernet frames in one publish and with one kick, as many as there is room for and the rest as room comes.
   * The submission tells when all are posted (`accepted`; until then their bytes are not the caller's to change) and
   * when the fate of each is known (`completed`). An abort withdraws the frames that are not posted yet.
   */
  submit(frames: readonly Uint8Array[], options?: SendOptions): Submission {
    return this.#sender.submit(frames, options);
  }

  /**
   * Received frames in batches, for `for await`. Ends when the `Nic` closes, throws where its queue fails. Only one
   * iteration runs at a time; frames that nobody takes wait in the kernel and are dropped there.
   */
  receive(options?: ReceiveOptions): AsyncGenerator<ReceiveBatch, void, void> {
    return this.#receiver.receive(options);
  }

  /** Resolves when no frame is in flight and none waits for room. */
  drain(options?: WaitOptions): Promise<void> {
    return this.#sender.drain(options);
  }

  /**
   * Stops both queues and waits until the device has let go of every buffer it had taken. Frames that it had not taken
   * stay in flight, and more can be posted, for the backend of the next `attach`.
   */
  detach(): Promise<void> {
    return this.#exclusively(() => this.#detach());
  }

  /** Starts both queues after `detach` or an error, on the same backend or on another one. */
  attach(backend?: BackendOptions | Backend): Promise<void> {
    return this.#exclusively(() => (backend === undefined ? this.#restart() : this.#replace(backend)));
  }

  /**
   * Moves both queues to another backend while traffic runs: no frame is lost that was not with the old one. Where the
   * new one is refused, the old one goes on.
   */
  swapBackend(backend: BackendOptions | Backend): Promise<void> {
    return this.attach(backend);
  }

  /**
   * Has the device mark every page that it writes from now on, also for buffers posted before (VHOST_F_LOG_ALL).
   * The log ends with `stopDirtyLog` or `close`.
   */
  startDirtyLog(): Promise<DirtyLog> {
    return this.#exclusively(() => this.#pair.startLog());
  }

  /** Ends the marking; what `take` gives before this call is all that will come. */
  stopDirtyLog(): Promise<void> {
    return this.#exclusively(() => this.#pair.stopLog());
  }

  /** A snapshot of the counters. */
  stats(): NicStats {
    const { rx, tx } = this;
    return {
      receive: {
        // Reception never waits for the network stack: the kernel copies into the buffer and returns it.
        ...queueStats(rx, this.#events[VHOST_NET_VQ_RX], 'sync', 0),
        frames: rx.frameCount,
        bytes: rx.byteCount,
      },
      transmit: queueStats(tx, this.#events[VHOST_NET_VQ_TX], this.backend.linkState, tx.fullWaits),
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

  async #close(): Promise<void> {
    const error = this.#closedError();
    this.#sender.stop(error);
    this.#receiver.end(error);
    await this.#control;
    try {
      await this.#teardown.run();
    } finally {
      if (closeChannel.hasSubscribers) closeChannel.publish({ nic: this });
      this.emit('close');
    }
  }

  #exclusively<T>(step: () => Promise<T>): Promise<T> {
    if (this.closed) return Promise.reject(this.#closedError());
    const result = this.#control.then(step);
    this.#control = result.catch(() => {});
    return result;
  }

  #closedError(): VhostError {
    return new VhostError('ERR_VHOST_CLOSED', `the Nic on ${this.name} is closed`);
  }

  async #detach(): Promise<void> {
    for (const queue of QUEUES) await this.#pair.detach(queue, false);
    this.#sender.called();
  }

  async #attach(): Promise<void> {
    // A close that came meanwhile has stopped everything for good.
    if (this.closed) throw this.#closedError();
    const { backend } = this;
    await this.#pair.carryHeader(backend.headerSize);
    this.tx.mtu = backend.interface.mtu;
    this.rx.checkHolds(longestFrame(backend));
    for (const queue of QUEUES) this.#failures[queue] = undefined;
    this.#sender.resume();
    this.#receiver.resume();
    // A ring that is empty when its backend comes would wait for a kick.
    this.rx.refill();
    for (const queue of QUEUES) await this.#pair.attach(queue, backend.fd);
    this.#sender.called();
  }

  async #restart(): Promise<void> {
    await this.#detach();
    try {
      await this.#attach();
    } catch (error) {
      await this.#detach();
      throw error;
    }
  }

  async #replace(backend: BackendOptions | Backend): Promise<void> {
    const change = this.#slot.replace(backend);
    try {
      await this.#restart();
    } catch (error) {
      change.undo();
      await this.#restart();
      throw error;
    }
    change.keep();
    if (backendChannel.hasSubscribers) backendChannel.publish({ nic: this, backend: this.backend });
  }

  #called(queue: number, count: number): void {
    if (this.closed) return;
    const events = this.#events[queue]!;
    events.calls += count;
    events.wakeups++;
    if (callChannel.hasSubscribers) callChannel.publish({ nic: this, queue, count });
    if (queue === VHOST_NET_VQ_RX) this.rx.calls.wake();
    else {
      this.tx.calls.wake();
      this.#sender.called();
    }
  }

  #reported(queue: number): void {
    if (this.closed || this.#gone(queue)) return;
    this.#fail(
      [queue],
      new VhostError('ERR_VHOST_QUEUE_ERROR', `the device stopped on an error in queue ${queue}`, { queue }),
    );
  }

  /** The device does not tell which queue waits for the address. */
  #faulted(error: VhostError): void {
    if (!this.closed) this.#fail(QUEUES, error);
  }

  #interfaceChanged(): void {
    if (!this.closed) this.#gone(VHOST_NET_VQ_RX);
  }

  /** Stops both queues where the interface is no more; whether it is. */
  #gone(queue: number): boolean {
    if (this.backend.alive()) return false;
    this.#fail(
      QUEUES,
      new VhostError('ERR_VHOST_BACKEND_GONE', `the interface ${this.name} is gone`, { queue }),
    );
    return true;
  }

  /** Stops queues until the next `attach`, settles their frames, ends their waits with the error and tells of it. */
  #fail(queues: readonly number[], error: VhostError): void {
    const failing = queues.filter((queue) => this.#failures[queue] === undefined);
    if (failing.length === 0) return;
    for (const queue of failing) {
      this.#failures[queue] = error;
      const { errors } = this.#events[queue]!;
      errors[error.code] = (errors[error.code] ?? 0) + 1;
      if (queue === VHOST_NET_VQ_RX) this.#receiver.stop(error);
      else this.#sender.stop(error);
    }
    this.#exclusively(async () => {
      for (const queue of failing) await this.#pair.detach(queue, true);
    })
      .catch((cause: unknown) => this.emit('error', cause as Error))
      .finally(() => {
        if (errorChannel.hasSubscribers)
          for (const queue of failing) errorChannel.publish({ nic: this, queue, error });
        // In a turn of its own, so that what a listener throws is an uncaught exception and disturbs nothing here.
        if (!this.closed) setImmediate(() => this.emit('error', error));
      });
  }
}

/** Bytes of the longest frame that a backend may deliver. */
function longestFrame({ offloads, interface: { mtu } }: Backend): number {
  return offloads.some((offload) => offload !== 'csum') ? MAX_SEGMENTED_FRAME : mtu + LINK_OVERHEAD;
}

function newEvents(): QueueEvents {
  return { calls: 0, wakeups: 0, errors: {} };
}
