import type { Nic } from '../../lib/index.js';

/**
 * A cable between two Nics that share memory: frames leave from the buffers that they came in, with the headers that
 * they came with. It sleeps while there is nothing to carry.
 */
export class Forwarder {
  /** Bytes of the longest frame carried since this was set to 0, with its header. */
  longest = 0;
  readonly #ends: readonly [Nic, Nic];
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;

  constructor(a: Nic, b: Nic) {
    this.#ends = [a, b];
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const [a, b] = this.#ends;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (this.#carry(a, b) + this.#carry(b, a) > 0) await new Promise((resolve) => setImmediate(resolve));
      else await this.#sleep();
    }
  }

  #carry({ rx, pool }: Nic, { tx }: Nic): number {
    const count = rx.reap();
    for (let i = 0; i < count; i++) {
      const first = rx.frames[i]!;
      let bytes = 0;
      for (let buffer = first; buffer !== -1; buffer = pool.next[buffer]!) bytes += pool.length[buffer]!;
      if (bytes > this.longest) this.longest = bytes;
      // A full queue drops the frame, as a switch does.
      if (tx.post(first) === -1) pool.releaseFrame(first);
    }
    if (count > 0) tx.flush();
    if (tx.reap() + count > 0) rx.refill();
    return count;
  }

  /** Until either end has something to carry. */
  async #sleep(): Promise<void> {
    const other = new AbortController();
    const signal = AbortSignal.any([other.signal, this.#stopping.signal]);
    const waits = this.#ends.map(({ rx }) => rx.ready({ signal }));
    await Promise.race(waits).catch(() => {});
    other.abort();
    await Promise.allSettled(waits);
  }
}
