import { DirtyLog } from '../completion/dirty-log.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel } from '../kernel/kernel.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { QueuePair } from './queue-pair.js';

/** The dirty log of a `Nic`: one for the devices of all its queue pairs, which write the same memory. */
export class PageLog {
  readonly #kernel: Kernel;
  readonly #memory: GuestMemory;
  #log: DirtyLog | undefined;
  #releaseSize: (() => void) | undefined;

  constructor(kernel: Kernel, memory: GuestMemory) {
    this.#kernel = kernel;
    this.#memory = memory;
  }

  /** Has the devices mark what they write from now on. */
  async start(pairs: readonly QueuePair[]): Promise<DirtyLog> {
    if (this.#log !== undefined)
      throw new VhostError('ERR_VHOST_IN_USE', 'the dirty log is on already; stopDirtyLog() ends it');
    const log = new DirtyLog(this.#kernel, this.#memory.end);
    this.#log = log;
    this.#releaseSize = this.#memory.keepSize();
    try {
      for (const pair of pairs) await pair.startLog(log);
    } catch (error) {
      // Where a device cannot be told to stop either, the log stays mapped until it is closed.
      await this.stop(pairs).catch(() => {});
      throw error;
    }
    return log;
  }

  /** Ends the marking. */
  async stop(pairs: readonly QueuePair[]): Promise<void> {
    for (const pair of pairs) await pair.stopLog();
    this.close();
  }

  /** Unmaps the log, once no device writes it. */
  close(): void {
    this.#releaseSize?.();
    this.#log?.close();
    this.#log = undefined;
  }
}
