/** Steps that undo an opening, run in reverse: whatever happens half-way, nothing stays open. */
export class Teardown {
  readonly #steps: (() => void | Promise<void>)[] = [];

  /** Adds the step that undoes what was just done. */
  add(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** Runs every step, the latest first, whether others fail or not; rejects with the first failure. Once only. */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Runs every step after a failure, which is what the caller is told rather than whatever fails here. */
  async undo(): Promise<void> {
    await this.run().catch(() => {});
  }
}
