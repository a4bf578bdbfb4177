/**
 * The chains that a port has and will complete later, in any order: a bounded pool of records, made once, and the list of
 * those that are finished. Any completion may append to it at any time; the queue's turn drains it.
 */
export class RequestPool {
  /** By record: what finishes it. Calling it again does nothing. */
  readonly finish: readonly (() => void)[];
  readonly #heads: Uint16Array;
  readonly #open: Uint8Array;
  readonly #free: Uint16Array;
  readonly #finished: Uint16Array;
  #freeCount: number;
  #finishedCount = 0;
  readonly #idle: (() => void)[] = [];

  /** `wake` is called when the list of finished requests is no longer empty. */
  constructor(size: number, wake: () => void) {
    this.#heads = new Uint16Array(size);
    this.#open = new Uint8Array(size);
    this.#free = Uint16Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#finished = new Uint16Array(size);
    this.#freeCount = size;
    this.finish = Array.from({ length: size }, (_, id) => () => {
      if (this.#open[id] === 0) return;
      this.#open[id] = 0;
      this.#finished[this.#finishedCount++] = id;
      if (this.#finishedCount === 1) wake();
    });
  }

  /** Requests that are neither finished nor free. */
  get outstanding(): number {
    return this.#heads.length - this.#freeCount - this.#finishedCount;
  }

  /** A record for a chain; -1 where all are taken. */
  open(head: number): number {
    if (this.#freeCount === 0) return -1;
    const id = this.#free[--this.#freeCount]!;
    this.#heads[id] = head;
    this.#open[id] = 1;
    return id;
  }

  /** Hands over the head of each finished request, in the order in which they finished; how many. */
  drain(use: (head: number) => void): number {
    const count = this.#finishedCount;
    this.#finishedCount = 0;
    for (let i = 0; i < count; i++) {
      const id = this.#finished[i]!;
      this.#free[this.#freeCount++] = id;
      use(this.#heads[id]!);
    }
    if (this.outstanding === 0) for (const resolve of this.#idle.splice(0)) resolve();
    return count;
  }

  /** Resolves when every request was finished and drained. */
  idle(): Promise<void> {
    if (this.#freeCount === this.#heads.length) return Promise.resolve();
    return new Promise((resolve) => void this.#idle.push(resolve));
  }
}
