import type { Budget } from '../../completion/budget.js';
import { BAD_CHAIN, NO_CHAIN } from '../../vring/device-ring.js';
import { ChainBatch } from './chain-batch.js';
import type { TransmitPort, TransmitTerms } from './ports.js';
import { RequestPool } from './request-pool.js';
import type { RunningQueue } from './running-queue.js';
import { Turns } from './turns.js';

/** Chains that are taken before any is sent: VHOST_NET_BATCH. */
const BATCH = 64;
/** More than the longest frame has, with its header: what is longer is refused without being tried. */
const LONGEST = 0x1_1000;

/** Takes a driver's frames to a port: handle_tx() of the kernel's device, with completions that may come later. */
export class TransmitHandler {
  readonly #queue: RunningQueue;
  readonly #budget: Budget;
  readonly #batch = new ChainBatch();
  readonly #requests: RequestPool;
  readonly #turns = new Turns(
    () => this.#turn(),
    (error) => this.#queue.fail('failed', error),
  );
  readonly #port: TransmitPort;
  readonly #use = (head: number): void => this.#queue.ring.use(head, 0);
  #stopped = false;

  constructor(queue: RunningQueue, budget: Budget, openPort: (terms: TransmitTerms) => TransmitPort) {
    this.#queue = queue;
    this.#budget = budget;
    this.#requests = new RequestPool(queue.ring.size, () => {
      if (!this.#turns.running) this.#turns.later();
    });
    this.#port = openPort({
      batch: this.#batch,
      requests: this.#requests,
      again: () => this.kick(),
      refused: () => void queue.stats.refused++,
      gone: () => queue.fail('gone'),
    });
  }

  get linkState(): TransmitPort['linkState'] {
    return this.#port.linkState;
  }

  kick(): void {
    this.#turns.now();
  }

  /** Takes no more frames; resolves when each that was taken is completed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#port.close();
    this.#turns.stop();
    this.#settle();
    this.#queue.publish();
  }

  #turn(): void {
    this.#settle();
    if (!this.#stopped) this.#send();
    this.#settle();
    this.#queue.publish();
  }

  #send(): void {
    const { ring } = this.#queue;
    const budget = this.#budget;
    budget.renew();
    ring.disableKicks();
    for (;;) {
      const { left } = budget;
      if (left === 0) {
        this.#turns.later();
        return;
      }
      const end = this.#take(Math.min(left, BATCH));
      const { count } = this.#batch;
      if (count > 0) {
        const sent = this.#port.transmit(ring.memory, this.#queue.header.device);
        for (let chain = 0; chain < sent; chain++) {
          if (this.#batch.deferred[chain] === 0) ring.use(this.#batch.heads[chain]!, 0);
          budget.spend(1, this.#batch.bytes[chain]!);
        }
        if (sent < count) {
          ring.discard(count - sent);
          this.#port.wait();
          return;
        }
      }
      if (end === BAD_CHAIN) return;
      if (end !== NO_CHAIN) continue;
      if (!ring.enableKicks()) return;
      ring.disableKicks();
    }
  }

  /** Takes up to so many chains; the last answer of the ring. */
  #take(most: number): number {
    const queue = this.#queue;
    const { ring, header } = queue;
    const batch = this.#batch;
    const { bytesLeft } = this.#budget;
    batch.clear();
    while (batch.count < most && batch.total < bytesLeft && !batch.full) {
      const head = ring.take();
      if (head === NO_CHAIN) return head;
      const fault =
        head === BAD_CHAIN
          ? ring.fault!
          : ring.segments === 0
            ? 'empty'
            : ring.segments > ring.readable
              ? 'direction'
              : ring.readableBytes <= header.device
                ? 'header'
                : undefined;
      if (fault !== undefined) {
        if (head !== BAD_CHAIN) ring.discard(1);
        // It stands until the driver kicks again.
        ring.enableKicks();
        queue.fail(fault);
        return BAD_CHAIN;
      }
      if (ring.readableBytes <= LONGEST) batch.add(ring, head);
      else {
        // Its turn comes when those before it are on their way.
        if (batch.count > 0) ring.discard(1);
        else this.#refuse(head);
        break;
      }
    }
    return 0;
  }

  /** Completes a frame that is too long for any port, at the price of one that is sent. */
  #refuse(head: number): void {
    const { ring, stats } = this.#queue;
    this.#budget.spend(1, ring.readableBytes);
    stats.refused++;
    ring.use(head, 0);
  }

  #settle(): void {
    this.#requests.drain(this.#use);
  }
}
