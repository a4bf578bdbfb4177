import type { Budget } from '../../completion/budget.js';
import { BAD_CHAIN, NO_CHAIN } from '../../vring/device-ring.js';
import { ChainBatch } from './chain-batch.js';
import type { ReadEnd, ReceivePort, ReceiveTerms } from './ports.js';
import type { RunningQueue } from './running-queue.js';
import { Turns } from './turns.js';
import type { WaitingFrames } from './waiting-frames.js';

/** Buffers that are offered to the port at first, and at most: what is not used is given back. */
const FEW = 4;
const MANY = 64;
/** Bytes of an ordinary frame with its header; what buffers must hold together where longer ones come. */
const ORDINARY = 1600;
/** Where `num_buffers` is in a header (VIRTIO 1.3 §5.1.6 Device Operation). */
const NUM_BUFFERS = 10;

/** Takes frames from a port into a driver's buffers: handle_rx() of the kernel's device. */
export class ReceiveHandler {
  readonly #queue: RunningQueue;
  readonly #budget: Budget;
  readonly #batch = new ChainBatch();
  readonly #turns = new Turns(
    () => this.#turn(),
    (error) => this.#queue.fail('failed', error),
  );
  readonly #port: ReceivePort;
  readonly #waiting: WaitingFrames;
  readonly #zeros: Uint8Array;
  readonly #count = new Uint8Array(2);
  /** Buffers and bytes to offer to the port. */
  #offered = FEW;
  #drained = false;
  #end: ReadEnd | undefined;
  #need = ORDINARY;

  constructor(
    queue: RunningQueue,
    budget: Budget,
    waiting: WaitingFrames,
    openPort: (terms: ReceiveTerms) => ReceivePort,
  ) {
    this.#queue = queue;
    this.#budget = budget;
    this.#waiting = waiting;
    this.#zeros = new Uint8Array(queue.header.device);
    this.#port = openPort({
      batch: this.#batch,
      readable: () => this.#turns.now(),
      deliver: (frame) => this.#deliver(frame),
    });
  }

  get linkState(): ReceivePort['linkState'] {
    return this.#port.linkState;
  }

  kick(): void {
    this.#turns.now();
  }

  stop(): void {
    this.#turns.stop();
    this.#port.close();
    this.#queue.publish();
  }

  #turn(): void {
    this.#queue.ring.disableKicks();
    this.#budget.renew();
    if (!this.#placeWaiting()) this.#port.watch(false);
    else if (this.#port.read !== undefined) this.#read();
    this.#queue.publish();
  }

  /** Places frames that were waiting; whether none waits any more. */
  #placeWaiting(): boolean {
    const waiting = this.#waiting;
    const { full } = waiting;
    while (waiting.first !== undefined) {
      if (!this.#place(waiting.first)) return false;
      waiting.shift();
    }
    if (full) this.#port.writable();
    return true;
  }

  #read(): void {
    const { ring, header } = this.#queue;
    const batch = this.#batch;
    for (;;) {
      const { left } = this.#budget;
      if (left === 0) {
        this.#turns.later();
        return;
      }
      if (!this.#take(Math.min(this.#offered, left), header.mergeable ? this.#need : 1)) return;
      const used = this.#readInto();
      ring.discard(batch.count - used);
      if (this.#end !== undefined) this.#ended(this.#end);
      if (this.#drained) return;
      this.#offered = Math.min(2 * this.#offered, MANY);
    }
  }

  /** Reads frames into the batch; the chains that they took. */
  #readInto(): number {
    const { header } = this.#queue;
    const { results } = this.#port;
    const frames = this.#port.read!(header.device, header.mergeable ? this.#need : 0);
    let chain = 0;
    this.#drained = false;
    this.#end = undefined;
    for (let frame = 0; frame < frames; frame++) {
      const bytes = results[2 * frame]!;
      const chains = results[2 * frame + 1]!;
      this.#budget.spend(1, Math.max(bytes, 0));
      if (bytes <= 0) {
        this.#end = this.#port.ended!(bytes);
        break;
      }
      if (chains < 0) {
        this.#tooLong(chain, -chains, bytes);
        break;
      }
      this.#finish(chain, chains, header.device + bytes);
      chain += chains;
    }
    return chain;
  }

  /** No frame was read. */
  #ended(end: ReadEnd): void {
    if (end === 'lost') {
      this.#queue.stats.dropped++;
      return;
    }
    this.#drained = true;
    this.#offered = FEW;
    this.#port.watch(end === 'empty');
    if (end === 'empty') return;
    // It stands until the driver kicks again, which it may do once it has put other buffers there.
    this.#queue.ring.enableKicks();
    this.#queue.fail(end);
  }

  /** A frame that is longer than so many chains from one on, and goes on in the spill. */
  #tooLong(chain: number, chains: number, bytes: number): void {
    const { ring, header } = this.#queue;
    // Like get_rx_bufs(): what no buffer holds is discarded, and the buffer stays.
    if (!header.mergeable) {
      this.#queue.stats.dropped++;
      return;
    }
    const batch = this.#batch;
    const frame = this.#waiting.push(header.device + bytes);
    let copied = 0;
    for (let i = chain; i < chain + chains; i++)
      copied += batch.gather(ring.memory, i, 0, frame.subarray(copied));
    frame.fill(0, 0, header.device);
    frame.set(this.#port.spill.subarray(0, frame.length - copied), copied);
    this.#need = Math.max(this.#need, frame.length);
    this.#drained = true;
    this.#turns.later();
  }

  #deliver(frame: Uint8Array): boolean {
    if (this.#waiting.full) return false;
    const { device } = this.#queue.header;
    // Its header is written when there are buffers.
    this.#waiting.push(device + frame.length).set(frame, device);
    if (!this.#turns.running) this.#turns.later();
    return true;
  }

  /** Puts a frame that has its header into buffers; false where there are too few of them now. */
  #place(frame: Uint8Array): boolean {
    const { ring, header } = this.#queue;
    const batch = this.#batch;
    if (!this.#take(1, header.mergeable ? frame.length : 1)) return false;
    if (batch.total < frame.length) {
      ring.discard(batch.count);
      // More buffers may come, but not more than the ring has descriptors.
      if (header.mergeable && batch.count < ring.size && !batch.full) return false;
      this.#queue.stats.dropped++;
      return true;
    }
    batch.scatter(ring.memory, 0, 0, frame);
    this.#finish(0, batch.count, frame.length);
    return true;
  }

  /**
   * Takes so many chains, and more until they hold so many bytes together; false where there is none, and the driver's
   * kick is waited for.
   */
  #take(chains: number, bytes: number): boolean {
    const queue = this.#queue;
    const { ring } = queue;
    const batch = this.#batch;
    batch.clear();
    while (!batch.full && (batch.count < chains || batch.total < bytes)) {
      const head = ring.take();
      if (head === NO_CHAIN) {
        if (batch.count > 0 && batch.total >= bytes) break;
        if (!ring.enableKicks()) break;
        ring.disableKicks();
        continue;
      }
      const fault =
        head === BAD_CHAIN
          ? ring.fault!
          : ring.segments === 0
            ? 'empty'
            : ring.readable > 0
              ? 'direction'
              : undefined;
      if (fault === undefined) {
        batch.add(ring, head);
        continue;
      }
      if (head !== BAD_CHAIN) ring.discard(1);
      if (batch.count > 0) break;
      // It stands until the driver kicks again.
      ring.enableKicks();
      this.#port.watch(false);
      queue.fail(fault);
      return false;
    }
    if (batch.count > 0) return true;
    this.#port.watch(false);
    return false;
  }

  /** Gives the driver a frame that lies in so many chains from one on, header and all. */
  #finish(first: number, chains: number, bytes: number): void {
    const { ring, header } = this.#queue;
    const { log } = ring;
    const batch = this.#batch;
    if (header.device > 0) batch.scatter(ring.memory, first, 0, this.#zeros);
    if (header.counts) {
      this.#count[0] = chains & 0xff;
      this.#count[1] = chains >>> 8;
      batch.scatter(ring.memory, first, NUM_BUFFERS, this.#count);
    }
    let left = bytes;
    for (let chain = first; chain < first + chains; chain++) {
      const written = Math.min(left, batch.bytes[chain]!);
      if (log !== undefined) batch.tell(chain, written, log);
      ring.use(batch.heads[chain]!, written);
      left -= written;
    }
  }
}
