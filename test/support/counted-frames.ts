import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Nic, NicPair } from '../../lib/index.js';
import type { NumberedFrames } from './numbered-frames.js';

/** The number of a frame that is not counted: what was sent before it has come when it comes. */
export const MARK = 0xffff_ffff;

/** No queue on the way, the far tap's of 1,000 frames among them, ever holds so many. */
const WINDOW = 256;

/** What frames are sent through: a `Nic`, which may have been resumed, or a pair of one. */
type Sending = Pick<NicPair, 'trySend' | 'tx'> & Partial<Pick<Nic, 'resumed'>>;

export interface CountedSenderOptions {
  /** The number of the first frame; 0 by default. */
  readonly next?: number | undefined;
  /** Told of each frame that the device can see, by the number of the next. */
  readonly posted?: (next: number) => void;
}

/** Sends numbered frames through a `Nic`, one after the other, until it is stopped. */
export class CountedSender {
  /** The number of the next frame to post. */
  next: number;
  /** The number of the next frame that the other end waits for; nothing is sent before that is known. */
  acknowledged = Number.NEGATIVE_INFINITY;
  readonly #nic: Sending;
  readonly #frames: NumberedFrames;
  /** The number of the first frame that this `Nic` completes. */
  readonly #first: number;
  readonly #posted: (next: number) => void;
  readonly #running: Promise<void>;
  #stopping = false;

  constructor(
    nic: Sending,
    frames: NumberedFrames,
    { next = 0, posted = () => {} }: CountedSenderOptions = {},
  ) {
    this.next = next;
    this.#nic = nic;
    this.#frames = frames;
    this.#posted = posted;
    const { replayed = 0, completed = 0 } = nic.resumed ?? {};
    this.#first = next - replayed - completed;
    this.#running = this.#run();
  }

  /** Frames with smaller numbers have completed. */
  get completed(): number {
    return this.#first + this.#nic.tx.ledger.completed;
  }

  /** Posts nothing more; what is in flight stays so. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const full =
        this.next - this.acknowledged >= WINDOW || !this.#nic.trySend(this.#frames.frame(this.next));
      // Leaves the processor to whoever empties the ring.
      if (full) await sleep(1);
      else this.#posted(++this.next);
    }
  }
}

export interface CountedReceiverOptions {
  /** The number of the first frame; 'any' takes whichever comes. 0 by default. */
  readonly next?: number | 'any';
  /** Frames that came before may come again. */
  readonly again?: boolean;
  /** Told after each batch of the number that comes next. */
  readonly came?: (next: number) => void;
}

/** Takes numbered frames from a `Nic` until it closes: each the next. */
export class CountedReceiver {
  /** The number of the next frame; none before the first, where that may be any. */
  next = Number.NEGATIVE_INFINITY;
  /** The number of the first frame that came. */
  first: number | undefined;
  /** Marks that came. */
  marks = 0;
  /** Settles when the `Nic` is closed; rejects where a frame is lost. */
  readonly ended: Promise<void>;

  constructor(nic: Nic, frames: NumberedFrames, options: CountedReceiverOptions) {
    const { next = 0, again = false, came = () => {} } = options;
    if (next !== 'any') this.next = next;
    this.ended = (async () => {
      for await (const batch of nic.receive()) {
        for (const frame of batch) {
          const number = frames.number(frame);
          frames.check(number, frame);
          if (number === MARK) {
            this.marks++;
            continue;
          }
          if (this.first === undefined) {
            this.first = number;
            if (next === 'any') this.next = number;
          }
          if (!again || number >= this.next) assert.equal(number, this.next++, 'no frame is lost');
        }
        came(this.next);
      }
    })();
  }
}
