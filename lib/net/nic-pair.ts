import type { Submission } from '../completion/submission.js';
import type { WaitOptions } from '../completion/waiters.js';
import type { Iotlb } from '../vhost/iotlb.js';
import type { KernelWorker } from '../vhost/kernel-worker.js';
import type { NetHeader } from './header.js';
import type { PairTraffic } from './pair-traffic.js';
import { type PairStats, pairStats } from './queue-stats.js';
import type { ReceiveBatch } from './receive-batch.js';
import type { ReceiveQueue } from './receive-queue.js';
import { type ReceiveOptions, receiveFrom } from './receiver.js';
import type { SendOptions } from './sender.js';
import type { TransmitQueue } from './transmit-queue.js';

/** What a pair asks of its `Nic`. */
export interface PairControl {
  /** Whether the pair takes frames has changed. */
  changed(): void;
  /** Takes the pair in or out, after whatever else stops and starts queues. */
  switchPair(traffic: PairTraffic, on: boolean): Promise<void>;
}

/**
 * A queue pair of a `Nic`: a vhost device with a worker of its own, on a queue of its own of the backend. Its methods are
 * those of the `Nic`, for this pair alone.
 */
export class NicPair {
  /** Its place in `nic.pairs`. */
  readonly index: number;
  /** The ring tier of transmission. */
  readonly tx: TransmitQueue;
  /** The ring tier of reception. */
  readonly rx: ReceiveQueue;
  readonly #traffic: PairTraffic;
  readonly #control: PairControl;
  /** `enable` and `disable` follow one another. */
  #switching: Promise<unknown> = Promise.resolve();

  constructor(traffic: PairTraffic, control: PairControl) {
    this.index = traffic.index;
    this.tx = traffic.pair.transmit;
    this.rx = traffic.pair.receive;
    this.#traffic = traffic;
    this.#control = control;
  }

  /** Whether frames are spread over it. */
  get enabled(): boolean {
    return this.#traffic.enabled;
  }

  /** Sends one frame, as `Nic.send`. */
  async send(frame: Uint8Array, options?: SendOptions): Promise<void> {
    await this.#traffic.toSend.send(frame, options);
  }

  /** Sends one frame if there is room now. */
  trySend(frame: Uint8Array, header?: NetHeader): boolean {
    return this.#traffic.toSend.trySend(frame, header);
  }

  /** Posts frames, as `Nic.submit`. */
  submit(frames: readonly Uint8Array[], options?: SendOptions): Submission {
    return this.#traffic.toSend.submit(frames, options);
  }

  /** Frames that came on this pair; not while an iteration takes from the whole `Nic`. */
  receive(options?: ReceiveOptions): AsyncGenerator<ReceiveBatch, void, void> {
    const { receiver, receiveBudget } = this.#traffic;
    return receiveFrom([receiver], receiveBudget, receiver.calls, options);
  }

  /** Resolves when no frame is in flight on this pair and none waits for room. */
  drain(options?: WaitOptions): Promise<void> {
    return this.#traffic.sender.drain(options);
  }

  /**
   * Takes the pair out while traffic runs: refuses frames from now on (ERR_VHOST_DISABLED), waits for those in flight,
   * stops both queues and has the backend spread no more frames over its queue (TUNSETQUEUE). What was received stays to
   * be taken; what still waited in the backend's queue the kernel drops. Where that fails, or the signal aborts the wait,
   * the pair goes on. ERR_VHOST_UNSUPPORTED: the backend has one queue; `Nic.detach` stops that.
   */
  disable(options: WaitOptions = {}): Promise<void> {
    return this.#inTurn(async () => {
      const traffic = this.#traffic;
      if (!traffic.enabled) return;
      this.#take(false);
      try {
        await traffic.sender.drain(options);
        await this.#control.switchPair(traffic, false);
      } catch (error) {
        this.#take(true);
        throw error;
      }
    });
  }

  /** Takes the pair in again, after `disable` or after an error of one of its queues. */
  enable(): Promise<void> {
    return this.#inTurn(async () => {
      const traffic = this.#traffic;
      if (traffic.enabled && !traffic.failed) return;
      await this.#control.switchPair(traffic, true);
      this.#take(true);
    });
  }

  /**
   * The kernel's worker of this pair, to pin it and to read its CPU time; `undefined` where none serves it or it does not
   * show.
   */
  worker(): Promise<KernelWorker | undefined> {
    return this.#traffic.pair.worker();
  }

  /** Serves the device with translations, where the `Nic` was opened with `iommu`. */
  get iotlb(): Iotlb | undefined {
    return this.#traffic.pair.iotlb;
  }

  /** A snapshot of the counters. */
  stats(): PairStats {
    return pairStats([this.#traffic.counters]);
  }

  #inTurn(step: () => Promise<void>): Promise<void> {
    const result = this.#switching.then(step);
    this.#switching = result.catch(() => {});
    return result;
  }

  #take(frames: boolean): void {
    this.#traffic.enabled = frames;
    this.#control.changed();
  }
}
