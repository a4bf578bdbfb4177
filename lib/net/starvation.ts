import type { Backend } from '../backend/backend.js';
import type { PairTraffic } from './pair-traffic.js';

/** Milliseconds between two looks: a device has waited so long at least when it is told of, and twice as long at most. */
const INTERVAL = 500;

/**
 * A device that waits for more receive buffers than it has: a frame has come that those do not hold, and every frame
 * behind it waits too. The worker of a kernel from 5.18 on looks for them again and again meanwhile, at full load, unless
 * it has the correction that vhost_get_avail_idx() got in 2026.
 */
export interface Starvation {
  /** Of which queue pair. */
  readonly pair: number;
  /** Receive buffers that it has, and does not use. */
  readonly buffers: number;
}

/**
 * Looks whether a device waits for receive buffers, and tells once of each time that it does for long. It looks while the
 * device has fewer than the longest frame takes, and has the device call when it comes to that: a `Nic` that is idle
 * sleeps.
 */
export class StarvationWatch {
  readonly #traffic: readonly PairTraffic[];
  readonly #told: (starvation: Starvation) => void;
  #timer: NodeJS.Timeout | undefined;
  /** Receive buffers that the longest frame takes; where one holds any, none waits for more. */
  #longest = 1;
  /** By pair: at which used index the device waited when it was looked at last, and whether that was told. */
  readonly #waiting: { at: number; told: boolean }[];

  constructor(traffic: readonly PairTraffic[], told: (starvation: Starvation) => void) {
    this.#traffic = traffic;
    this.#told = told;
    this.#waiting = traffic.map(() => ({ at: -1, told: false }));
  }

  /** Looks from now on, where frames of the backend may take several buffers. */
  start(backend: Backend): void {
    this.stop();
    this.#longest = this.#traffic[0]!.buffersFor(backend);
    this.called();
  }

  /** A device called, or may have used buffers without. */
  called(): void {
    if (this.#longest > 1) this.#timer ??= setInterval(() => this.#look(), INTERVAL).unref();
  }

  stop(): void {
    this.#longest = 1;
    this.#rest();
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    let calm = true;
    for (const [index, { pair }] of this.#traffic.entries()) {
      const waiting = this.#waiting[index]!;
      const { ring } = pair.receive;
      const at = pair.starved ? ring.base : -1;
      const still = at !== -1 && at === waiting.at;
      if (!still) this.#waiting[index] = { at, told: false };
      else if (!waiting.told) {
        waiting.told = true;
        this.#told({ pair: index, buffers: ring.untaken });
      }
      const spare = ring.untaken - this.#longest;
      if (pair.receives && (spare < 0 || ring.callWithin(spare + 1))) calm = false;
    }
    if (calm) this.#rest();
  }
}
