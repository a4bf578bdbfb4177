import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { HEADER_SIZE, type Nic } from '../../lib/index.js';
import type { NumberedFrames } from './numbered-frames.js';
import { DEADLINE } from './until.js';

/** Frames posted before one publish. */
const BATCH = 64;

/**
 * Numbered frames from one `Nic` to another in the ring tier, every byte compared as they come in, in order.
 *
 * A tap drops what does not fit its queue (1,000 frames), as any interface would; so that a missing frame is always a
 * fault of the program, no more than `window` are on their way at once.
 */
export class Flow {
  readonly total: number;
  posted = 0;
  received = 0;
  readonly #from: Nic;
  readonly #to: Nic;
  readonly #frames: NumberedFrames;
  readonly #expected: NumberedFrames;
  readonly #window: number;

  /** `expected` is what frames have become on their way, if not the same. */
  constructor(
    from: Nic,
    to: Nic,
    frames: NumberedFrames,
    total: number,
    window = 512,
    expected: NumberedFrames = frames,
  ) {
    this.#from = from;
    this.#to = to;
    this.#frames = frames;
    this.#expected = expected;
    this.#window = window;
    this.total = total;
  }

  get done(): boolean {
    return this.received === this.total && this.#from.tx.ledger.inFlight === 0;
  }

  /** Posts what the window lets, settles what was sent, takes what came in; frames moved in all. */
  step(): number {
    return this.#post() + this.#from.tx.reap() + this.#take();
  }

  #post(): number {
    const { tx, pool } = this.#from;
    const frames = this.#frames;
    const room = Math.min(BATCH, this.total - this.posted, this.#window - (this.posted - this.received));
    let count = 0;
    for (; count < room; count++) {
      const buffer = pool.lease();
      if (buffer === -1) break;
      const start = pool.offset(buffer);
      pool.bytes.fill(0, start, start + HEADER_SIZE);
      frames.write(this.posted, pool.bytes, start + HEADER_SIZE);
      pool.length[buffer] = HEADER_SIZE + frames.length;
      if (tx.post(buffer) === -1) {
        pool.release(buffer);
        break;
      }
      this.posted++;
    }
    if (count > 0) tx.flush();
    return count;
  }

  #take(): number {
    const { rx, pool } = this.#to;
    const count = rx.reap();
    for (let i = 0; i < count; i++) {
      const first = rx.frames[i]!;
      assert.equal(pool.next[first], -1, 'an ordinary frame lies in one buffer');
      const start = pool.offset(first) + HEADER_SIZE;
      this.#expected.check(this.received++, pool.bytes, start, pool.length[first]! - HEADER_SIZE);
      pool.releaseFrame(first);
    }
    if (count > 0) rx.refill();
    return count;
  }
}

/** Runs flows side by side to their ends; rejects where all of them stand still. */
export async function run(...flows: Flow[]): Promise<void> {
  let moved = Date.now();
  while (!flows.every((flow) => flow.done)) {
    let count = 0;
    for (const flow of flows) count += flow.step();
    if (count > 0) {
      moved = Date.now();
      continue;
    }
    if (Date.now() - moved > DEADLINE) {
      const states = flows.map(
        ({ posted, received, total }) => `${posted} posted, ${received} of ${total} came`,
      );
      throw new Error(`the frames stand still: ${states.join('; ')}`);
    }
    // Leaves the processor to the device's own threads; on a machine with few, to spin here holds them up.
    await sleep(1);
  }
}
