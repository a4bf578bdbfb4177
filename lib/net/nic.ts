import { EventEmitter } from 'node:events';
import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import type { Backend, Offload } from '../backend/backend.js';
import type { BackendOptions } from '../backend/open.js';
import type { Budget } from '../completion/budget.js';
import { BusyPoll } from '../completion/busy-poll.js';
import { Calls } from '../completion/calls.js';
import type { DirtyLog } from '../completion/dirty-log.js';
import type { Submission } from '../completion/submission.js';
import type { WaitOptions } from '../completion/waiters.js';
import { wrongValue } from '../errors/check.js';
import { tellPair, VhostError } from '../errors/errors.js';
import { undo } from '../errors/undo.js';
import type { FramePool } from '../memory/frame-pool.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Iotlb } from '../vhost/iotlb.js';
import type { BackendSlot } from './backend-slot.js';
import {
  backendChannel,
  callChannel,
  closeChannel,
  errorChannel,
  lostChannel,
  openChannel,
  starvedChannel,
} from './diagnostics.js';
import { flowHash } from './flow.js';
import type { HandOver } from './hand-over.js';
import type { NetHeader } from './header.js';
import { type NicEvents, type NicOptions, type NicParts, openParts } from './nic-open.js';
import { NicPair } from './nic-pair.js';
import type { PageLog } from './page-log.js';
import { PairTraffic, QUEUES } from './pair-traffic.js';
import type { DeviceKind, QueuePair } from './queue-pair.js';
import { type PairStats, pairStats } from './queue-stats.js';
import type { ReceiveBatch } from './receive-batch.js';
import type { ReceiveQueue } from './receive-queue.js';
import { type ReceiveOptions, type Receiver, ReceivingRings, receiveFrom } from './receiver.js';
import { type Reclaimed, type ReclaimOptions, settledInTime } from './reclaim.js';
import { type InFlight, type Resumed, settleInFlight } from './resumed.js';
import type { Sender, SendOptions } from './sender.js';
import { type Starvation, StarvationWatch } from './starvation.js';
import type { Teardown } from './teardown.js';
import type { TransmitQueue } from './transmit-queue.js';

/** A snapshot of a `Nic`: the sums over its queue pairs, and each of them. */
export interface NicStats extends PairStats {
  readonly pairs: readonly PairStats[];
}

/** Frames or receive buffers that a device had taken and never returned by the time it was stopped. */
export interface Loss {
  /** Of which queue pair. */
  readonly pair: number;
  /** 0 receive, 1 transmit. */
  readonly queue: number;
  readonly count: number;
}

/** How a `Nic` goes on that was left; the rest is as it was. */
export interface ResumeOptions
  extends Pick<NicOptions, 'maxInFlight' | 'budget' | 'busyPoll' | 'iommu' | 'vhost' | 'worker' | 'kernel'> {
  /**
   * What is done with frames that no device had returned: 'replay', the default, has them sent, though one may be sent
   * twice that a process which was killed had just sent; 'report' leaves them out and tells of them in `resumed`.
   */
  readonly inFlight?: InFlight;
}

interface NicEventMap {
  /** A queue stopped: `error.code` says why, `error.queue` which. The rest of the `Nic` goes on. */
  error: [error: Error];
  /** A queue was stopped, and some of what the device had taken from it never came back. */
  lost: [loss: Loss];
  /** A device waits for receive buffers: the program keeps too many of them, or takes no frames. */
  starved: [starvation: Starvation];
  close: [];
}

/**
 * A network interface whose cable ends in this program: a backend, and for each of its queues a vhost device with a pair
 * of queues, of which most need just one.
 *
 * The friendly tier is `send`, `submit`, `receive`, `drain` and `close`; `tx` and `rx` are the ring tier of the first
 * pair, `pairs` has both tiers of each.
 */
export class Nic extends EventEmitter<NicEventMap> {
  /** The ring tier of transmission, of the first pair. */
  readonly tx: TransmitQueue;
  /** The ring tier of reception, of the first pair. */
  readonly rx: ReceiveQueue;
  /** The queue pairs. */
  readonly pairs: readonly NicPair[];
  /** The buffers that all queues lease. */
  readonly pool: FramePool;
  /** The memory that the devices reach. */
  readonly memory: GuestMemory;
  readonly #traffic: readonly PairTraffic[];
  readonly #receivers: readonly Receiver[];
  readonly #slot: BackendSlot;
  readonly #pageLog: PageLog;
  readonly #starvation: StarvationWatch;
  readonly #teardown: Teardown;
  /** Pairs over which frames are spread. */
  #sending: readonly PairTraffic[] = [];
  /** Whether the queues of the pairs that are enabled run. */
  #attached = false;
  /** Those who wait for frames on any pair. */
  readonly #arrivals: Calls;
  readonly #receiveBudget: Budget;
  /** Requests that stop and start queues follow one another. */
  #control: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  readonly #copy: (() => HandOver) | undefined;
  #resumed: Resumed | undefined;

  private constructor({ pairs, slot, memory, pageLog, budgets, driverPoll, handOver, teardown }: NicParts) {
    super();
    this.#slot = slot;
    this.#pageLog = pageLog;
    this.#teardown = teardown;
    this.#copy = handOver;
    this.memory = memory;
    this.#receiveBudget = budgets().receive;
    const [{ transmit, receive }] = pairs as [QueuePair];
    this.tx = transmit;
    this.rx = receive;
    this.pool = transmit.pool;
    const received = pairs.reduce((most, pair) => most + pair.receive.mostPosted, 0);
    const released = (): void => this.#released();
    this.#traffic = pairs.map(
      (pair, index): PairTraffic =>
        new PairTraffic({
          index,
          pair,
          budgets: budgets(),
          mostBuffers: this.pool.count - received,
          released,
        }),
    );
    this.#starvation = new StarvationWatch(this.#traffic, (starvation) => this.#starved(starvation));
    teardown.add(() => this.#starvation.stop());
    const receivers = this.#traffic.map(({ receiver }) => receiver);
    this.#receivers = receivers;
    this.#arrivals =
      receivers.length === 1
        ? this.rx.calls
        : new Calls(new ReceivingRings(receivers), new BusyPoll(driverPoll));
    this.pairs = this.#traffic.map(
      (traffic) =>
        new NicPair(traffic, {
          switchPair: (each, on) => this.#exclusively(() => this.#switch(each, on)),
          changed: () => this.#spread(),
        }),
    );
  }

  /**
   * Opens devices and a backend and starts all queues. Where a step fails, nothing stays open. ERR_VHOST_INVALID_ARGUMENT,
   * ERR_VHOST_OUT_OF_RANGE: an option breaks its rule, which is told before anything is opened; or the receive ring could
   * not hold the longest frame of the backend. ERR_VHOST_UNSUPPORTED: the device, the backend or the kernel lacks what was
   * asked for. A refusal of the kernel comes as it is, with `request`, `queue`, `pair`, and a `hint` where the cause is known:
   * EACCES or ENOENT of the device, EPERM without CAP_NET_ADMIN, EBUSY of a tap that is open.
   */
  static open(options: NicOptions): Promise<Nic> {
    return Nic.#open(options);
  }

  /**
   * Goes on with a `Nic` that was left: with a device of its own on the same memory and the same interface. Only once no
   * other device works on them: after `handOver`, or when the process that had it has ended and was waited for. Where it
   * fails, the hand-over can be resumed again; frames that were to be reported the error has, as `reported`.
   * ERR_VHOST_RING_CORRUPT: what was left cannot be true.
   */
  static async resume(handOver: HandOver, options: ResumeOptions = {}): Promise<Nic> {
    const { inFlight = 'replay', ...rest } = options;
    if (inFlight !== 'replay' && inFlight !== 'report')
      throw wrongValue('inFlight', "'replay' or 'report'", inFlight);
    const { queuePairs, receiveSize, transmitSize, bufferSize, buffers, kind, offloads, netns } =
      handOver.state;
    const nic = await Nic.#open(
      {
        ...rest,
        fd: { fd: handOver.descriptors.queues, kind, offloads, netns: netns || undefined },
        queuePairs,
        queueSize: { receive: receiveSize, transmit: transmitSize },
        bufferSize,
        buffers,
        resumable: true,
      },
      { handOver, inFlight },
    );
    handOver.close();
    return nic;
  }

  static async #open(
    options: NicOptions,
    inherited?: { readonly handOver: HandOver; readonly inFlight: InFlight },
  ): Promise<Nic> {
    let nic: Nic | undefined;
    const events: NicEvents = {
      called: (pair, queue, count) => {
        if (nic !== undefined) nic.#called(nic.#traffic[pair]!, queue, count);
      },
      failed: (pair, queue) => {
        if (nic !== undefined) nic.#reported(nic.#traffic[pair]!, queue);
      },
      corrupted: (pair, queue, error) => {
        if (nic !== undefined) nic.#corrupted(nic.#traffic[pair]!, queue, error);
      },
      faulted: (pair, error) => {
        if (nic !== undefined) nic.#faulted(nic.#traffic[pair]!, error);
      },
      lost: (pair, queue, count) => {
        if (nic !== undefined) nic.#lost({ pair, queue, count });
      },
      interfaceChanged: () => {
        if (nic !== undefined) nic.#interfaceChanged();
      },
    };
    const parts = await openParts(options, events, inherited?.handOver);
    try {
      nic = new Nic(parts);
      if (inherited !== undefined) nic.#resumed = settleInFlight(parts.pairs, inherited.inFlight);
      await nic.#attach();
      for (const pair of parts.pairs) pair.inherit();
    } catch (error) {
      const { reported = [] } = nic?.resumed ?? {};
      if (reported.length > 0) Object.defineProperty(error, 'reported', { value: reported });
      nic = undefined;
      await parts.teardown.undo();
      throw error;
    }
    if (openChannel.hasSubscribers) openChannel.publish({ nic });
    return nic;
  }

  /** What the queues work on now: `attach` and `swapBackend` put another in its place. */
  get backend(): Backend {
    return this.#slot.backend;
  }

  /** The name of the interface. */
  get name(): string {
    return this.backend.interface.name;
  }

  /** What serves the queues: the kernel's vhost-net, this program (`WorkerVhost`), or another `Vhost` that was given. */
  get device(): DeviceKind {
    return this.#traffic[0]!.pair.device;
  }

  /** The feature bits agreed with the devices. */
  get features(): bigint {
    return this.#traffic[0]!.pair.features;
  }

  /** Serves the device of the first pair with translations, where the `Nic` was opened with `iommu`. */
  get iotlb(): Iotlb | undefined {
    return this.#traffic[0]!.pair.iotlb;
  }

  /** What received frames may leave to this side, as agreed with the backend: checksums, segments of up to 64 KiB. */
  get offloads(): readonly Offload[] {
    return this.backend.offloads;
  }

  /** What was found where the `Nic` was made by `resume`. */
  get resumed(): Resumed | undefined {
    return this.#resumed;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Sends one Ethernet frame: resolves once it is posted, so that the caller's bytes are free; waits while there is no
   * room. While one call waits another on the same pair is refused with ERR_VHOST_QUEUE_FULL, so that nothing queues
   * without bound. Of several pairs the frame's flow decides, so that its frames keep their order: its addresses and ports.
   * ERR_VHOST_OUT_OF_RANGE: the frame is longer than the MTU and 18 bytes, or 65,550 bytes with segment offload, or than the
   * buffers hold. ERR_VHOST_BAD_HEADER: it is shorter than 14 bytes, or the header would have the kernel's worker spin.
   * ERR_VHOST_CLOSED, or why the queue stopped: nothing was posted. The signal's reason: it was aborted before.
   */
  async send(frame: Uint8Array, options?: SendOptions): Promise<void> {
    await this.#senderOf(frame).send(frame, options);
  }

  /** Sends one Ethernet frame if there is room now; false where there is none. Throws as `send` rejects. */
  trySend(frame: Uint8Array, header?: NetHeader): boolean {
    return this.#senderOf(frame).trySend(frame, header);
  }

  /**
   * Posts Ethernet frames in one publish and with one kick, as many as there is room for and the rest as room comes.
   * The submission tells when all are posted (`accepted`; until then their bytes are not the caller's to change) and
   * when the fate of each is known (`completed`). An abort withdraws the frames that are not posted yet. Of several pairs
   * the flow of the first frame decides for all. Throws where nothing was posted, as `send` rejects; where a later frame
   * breaks a rule, `accepted` rejects with the reason, and that frame and those after it are withdrawn.
   */
  submit(frames: readonly Uint8Array[], options?: SendOptions): Submission {
    return this.#senderOf(frames?.[0]).submit(frames, options);
  }

  /**
   * Received frames in batches, for `for await`, of all pairs in turn. Ends when the `Nic` closes, throws where the queue
   * of every pair failed. Only one iteration runs at a time; frames that nobody takes wait in the kernel and are dropped
   * there.
   */
  receive(options?: ReceiveOptions): AsyncGenerator<ReceiveBatch, void, void> {
    return receiveFrom(this.#receivers, this.#receiveBudget, this.#arrivals, options);
  }

  /** Resolves when no frame is in flight and none waits for room. */
  async drain(options?: WaitOptions): Promise<void> {
    await Promise.all(this.#traffic.map(({ sender }) => sender.drain(options)));
  }

  /**
   * Waits for the frames that are in flight now and the receive buffers that a device has taken, `deadline` milliseconds
   * at most. Where some are left, stops all queues and starts them again: what the devices had taken and never returned is
   * back then, frames as abandoned, buffers in the pool, and 'lost' is emitted. What they had not taken stays posted,
   * unless it is to be abandoned too. A vhost-user device tells of receive buffers only where it is stopped for frames.
   */
  async reclaim(options: ReclaimOptions): Promise<Reclaimed> {
    if (await settledInTime(this.#traffic, options)) return { lost: 0, abandoned: 0 };
    return this.#exclusively(async () => {
      const before = this.stats();
      if (options.untaken === 'abandon')
        for (const traffic of this.#traffic) await traffic.detach([VHOST_NET_VQ_TX], true);
      // Where nothing runs, nothing is lost, and nothing is to be started.
      if (this.#attached) await this.#restart();
      const after = this.stats();
      return {
        lost: after.receive.lost + after.transmit.lost - before.receive.lost - before.transmit.lost,
        abandoned: after.transmit.abandoned - before.transmit.abandoned,
      };
    });
  }

  /**
   * Stops all queues and waits until the device has let go of every buffer it had taken. Frames that it had not taken
   * stay in flight, and more can be posted, for the backend of the next `attach`.
   */
  detach(): Promise<void> {
    return this.#exclusively(() => this.#detach());
  }

  /** Starts all queues of enabled pairs after `detach` or an error, on the same backend or on another one. */
  attach(backend?: BackendOptions | Backend): Promise<void> {
    return this.#exclusively(() => (backend === undefined ? this.#restart() : this.#replace(backend)));
  }

  /**
   * Moves all queues to another backend while traffic runs: no frame is lost that was not with the old one. Where the
   * new one is refused, the old one goes on. ERR_VHOST_OUT_OF_RANGE, ERR_VHOST_UNSUPPORTED: a frame that the old one has not
   * taken is too long for the new one, or leaves to it what it cannot do; `drain` first.
   */
  swapBackend(backend: BackendOptions | Backend): Promise<void> {
    return this.attach(backend);
  }

  /**
   * Agrees on what received frames may leave to this side, while traffic runs (TUNSETOFFLOAD, a guest's
   * VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET): those listed, all that the kernel knows (`true`) or none; resolves with what was
   * agreed. Frames that are on their way may still come as before. ERR_VHOST_OUT_OF_RANGE: the receive buffers could not
   * hold the longest. ERR_VHOST_UNSUPPORTED: the backend is what it is since it was opened.
   */
  setOffloads(wanted: boolean | readonly Offload[]): Promise<readonly Offload[]> {
    return this.#exclusively(async () => {
      const { backend } = this;
      if (backend.setOffloads === undefined)
        throw new VhostError(
          'ERR_VHOST_UNSUPPORTED',
          `the offloads of a ${backend.kind} are not to be changed`,
        );
      // What is no list at all, the backend refuses.
      const segments = wanted === true || (Array.isArray(wanted) && wanted.some((each) => each !== 'csum'));
      for (const traffic of this.#traffic) traffic.checkHolds(backend, segments);
      const agreed = backend.setOffloads(wanted);
      this.#starvation.start(this.backend);
      return agreed;
    });
  }

  /**
   * Stops all queues, closes the `Nic` and gives what `resume` needs to go on, here or in another process: no frame that
   * was received and not taken is lost, and none that was not sent. What is in flight counts as abandoned here; frames
   * that wait for room are withdrawn. ERR_VHOST_UNSUPPORTED: it was not opened with `resumable`.
   */
  async handOver(): Promise<HandOver> {
    const handOver = this.standby();
    try {
      await this.#exclusively(async () => {
        await this.#detach();
        for (const { pair } of this.#traffic) pair.leave();
        // Before anything that waits its turn could start the queues again.
        this.close().catch(() => {});
      });
      await this.close();
    } catch (error) {
      handOver.close();
      throw error;
    }
    return handOver;
  }

  /**
   * What another process needs to go on should this one end without a word, while this one goes on: see `resume`. It is
   * for the backend of now; after `swapBackend` it must be given anew.
   */
  standby(): HandOver {
    if (this.closed) throw this.#closedError();
    if (this.#copy === undefined)
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        'a Nic can be handed over if it was opened with resumable: true',
      );
    return this.#copy();
  }

  /**
   * Has the device mark every page that it writes from now on, also for buffers posted before (VHOST_F_LOG_ALL).
   * The log ends with `stopDirtyLog` or `close`.
   */
  startDirtyLog(): Promise<DirtyLog> {
    return this.#exclusively(() => this.#pageLog.start(this.#queuePairs));
  }

  /** Ends the marking; what `take` gives before this call is all that will come. */
  stopDirtyLog(): Promise<void> {
    return this.#exclusively(() => this.#pageLog.stop(this.#queuePairs));
  }

  /** A snapshot of the counters. */
  stats(): NicStats {
    const counters = this.#traffic.map((traffic) => traffic.counters);
    return { ...pairStats(counters), pairs: counters.map((pair) => pairStats([pair])) };
  }

  /** Keeps the loop alive while the `Nic` is open (the default). */
  ref(): this {
    for (const { pair } of this.#traffic) pair.ref();
    return this;
  }

  /** Lets the program end with the `Nic` open. */
  unref(): this {
    for (const { pair } of this.#traffic) pair.unref();
    return this;
  }

  /**
   * Stops all queues, waits for the devices to let go of every buffer, settles every frame in flight as completed or
   * abandoned and ends every wait; then closes the devices, the backend and the memory. Idempotent.
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
    for (const { sender, receiver } of this.#traffic) {
      sender.end(error);
      receiver.end(error);
    }
    this.#arrivals.fail(error);
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

  get #queuePairs(): QueuePair[] {
    return this.#traffic.map(({ pair }) => pair);
  }

  /** Who sends a frame: of several pairs the one of its flow; where none takes frames, the first, which says why. */
  #senderOf(frame: unknown): Sender {
    const sending = this.#sending;
    if (sending.length < 2 || !(frame instanceof Uint8Array)) return (sending[0] ?? this.#traffic[0]!).toSend;
    return sending[flowHash(frame) % sending.length]!.sender;
  }

  /** Some pair takes frames again, or no longer. */
  #spread(): void {
    this.#sending = this.#traffic.filter(({ sends }) => sends);
  }

  /** Buffers came back: whoever had none has them now. */
  #released(): void {
    for (const { receiver, sender } of this.#traffic) {
      receiver.refill();
      sender.makeRoom();
    }
  }

  async #detach(): Promise<void> {
    this.#attached = false;
    for (const traffic of this.#traffic) await traffic.detach();
  }

  async #attach(): Promise<void> {
    // A close that came meanwhile has stopped everything for good.
    if (this.closed) throw this.#closedError();
    for (const traffic of this.#traffic) {
      this.backend.switchQueue(traffic.index, traffic.enabled);
      if (traffic.enabled) await traffic.attach(this.backend);
    }
    this.#attached = true;
    this.#starvation.start(this.backend);
    this.#spread();
    this.#arrivals.wake();
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

  /** Takes one pair in or out, beside the others. */
  async #switch(traffic: PairTraffic, on: boolean): Promise<void> {
    await traffic.detach();
    if (this.closed) throw this.#closedError();
    try {
      this.backend.switchQueue(traffic.index, on);
      if (on && this.#attached) await traffic.attach(this.backend);
    } catch (error) {
      await traffic.detach();
      // As it was before, which for a pair that failed means that it takes part and stands.
      undo(() => this.backend.switchQueue(traffic.index, traffic.enabled || !on));
      if (!on && this.#attached) await traffic.attach(this.backend);
      throw tellPair(error, traffic.index);
    }
    this.#arrivals.wake();
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

  #called(traffic: PairTraffic, queue: number, count: number): void {
    if (this.closed) return;
    if (callChannel.hasSubscribers) callChannel.publish({ nic: this, pair: traffic.index, queue, count });
    traffic.called(queue, count);
    if (queue !== VHOST_NET_VQ_RX) return;
    this.#arrivals.wake();
    this.#starvation.called();
  }

  #reported(traffic: PairTraffic, queue: number): void {
    if (this.closed || this.#gone(queue)) return;
    const where = this.pairs.length > 1 ? `queue ${queue} of pair ${traffic.index}` : `queue ${queue}`;
    this.#failPair(
      traffic,
      [queue],
      new VhostError('ERR_VHOST_QUEUE_ERROR', `the device stopped on an error in ${where}`, { queue }),
    );
  }

  #corrupted(traffic: PairTraffic, queue: number, error: VhostError): void {
    if (!this.closed) this.#failPair(traffic, [queue], error);
  }

  #lost(loss: Loss): void {
    if (lostChannel.hasSubscribers) lostChannel.publish({ nic: this, ...loss });
    // In a turn of its own, as an error is.
    setImmediate(() => this.emit('lost', loss));
  }

  #starved(starvation: Starvation): void {
    if (starvedChannel.hasSubscribers) starvedChannel.publish({ nic: this, ...starvation });
    this.emit('starved', starvation);
  }

  /** The device does not tell which queue waits for the address. */
  #faulted(traffic: PairTraffic, error: VhostError): void {
    if (!this.closed) this.#failPair(traffic, QUEUES, error);
  }

  #interfaceChanged(): void {
    if (!this.closed) this.#gone(VHOST_NET_VQ_RX);
  }

  /** Stops all queues where the interface is no more; whether it is. */
  #gone(queue: number): boolean {
    if (this.backend.alive()) return false;
    this.#fail(
      this.#traffic.flatMap((traffic) => QUEUES.map((each) => [traffic, each] as const)),
      new VhostError('ERR_VHOST_BACKEND_GONE', `the interface ${this.name} is gone`, { queue }),
    );
    return true;
  }

  #failPair(traffic: PairTraffic, queues: readonly number[], error: VhostError): void {
    this.#fail(
      queues.map((queue) => [traffic, queue] as const),
      tellPair(error, traffic.index),
    );
  }

  /** Stops queues until the next `attach`, settles their frames, ends their waits with the error and tells of it. */
  #fail(stops: readonly (readonly [PairTraffic, number])[], error: VhostError): void {
    const failing = stops.filter(([traffic, queue]) => traffic.stop(queue, error));
    if (failing.length === 0) return;
    this.#spread();
    if (failing.some(([, queue]) => queue === VHOST_NET_VQ_RX)) this.#arrivals.fail(error);
    this.#exclusively(async () => {
      for (const [traffic, queue] of failing) await traffic.detach([queue], true);
    })
      .catch((cause: unknown) => this.emit('error', cause as Error))
      .finally(() => {
        if (errorChannel.hasSubscribers)
          for (const [{ index }, queue] of failing)
            errorChannel.publish({ nic: this, pair: index, queue, error });
        // In a turn of its own, so that what a listener throws is an uncaught exception and disturbs nothing here.
        if (!this.closed) setImmediate(() => this.emit('error', error));
      });
  }
}
