/**
 * When a queue's handler runs: at once where something happened, and again on a later turn of the loop where it gave way
 * to others (vhost_poll_queue()). It never runs within itself. What it throws is its queue's affair, not the process's.
 */
export class Turns {
  readonly #run: () => void;
  readonly #failed: (error: unknown) => void;
  #running = false;
  #later: NodeJS.Immediate | undefined;

  constructor(run: () => void, failed: (error: unknown) => void) {
    this.#run = run;
    this.#failed = failed;
  }

  now(): void {
    if (this.#running) {
      this.later();
      return;
    }
    this.#cancel();
    this.#running = true;
    try {
      this.#run();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#running = false;
    }
  }

  later(): void {
    // The loop is held until then: one that sleeps does not wake for a turn that holds nothing.
    this.#later ??= setImmediate(() => {
      this.#later = undefined;
      this.now();
    });
  }

  get running(): boolean {
    return this.#running;
  }

  stop(): void {
    this.#cancel();
  }

  #cancel(): void {
    if (this.#later !== undefined) clearImmediate(this.#later);
    this.#later = undefined;
  }
}
