/** What happens later by itself: callbacks of watches, turns of a device. */
export class Schedule {
  private pending = 0;

  /** Runs `work` after the current turn of the loop. */
  later(work: () => void): void {
    this.pending++;
    setImmediate(() => {
      this.pending--;
      work();
    });
  }

  /** Resolves after the current turn of the loop. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.later(resolve));
  }

  /** Resolves when nothing is to happen by itself any more. */
  async idle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.pending > 0);
  }
}
