import { checkOptions, wrongType } from '../errors/check.js';

/** What every wait of this package takes. */
export interface WaitOptions {
  /** Ends the wait; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const waitOptions = ['signal'] as const;

/** Refuses options of a wait that are none; `known` where there are others beside the signal. */
export function checkWaitOptions(options: WaitOptions, known: readonly string[] = waitOptions): void {
  checkOptions('options', options, known);
  const { signal } = options;
  // As Node judges it: signals of other realms are signals too.
  if (signal !== undefined && (typeof signal !== 'object' || signal === null || !('aborted' in signal)))
    throw wrongType('signal', 'an AbortSignal', signal);
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Those who wait for one kind of event: for room, for frames, for nothing in flight. */
export class Waiters {
  readonly #waiters = new Set<Waiter>();

  get size(): number {
    return this.#waiters.size;
  }

  /** Resolves at the next `wake`, rejects at the next `fail` or when the signal aborts. */
  wait({ signal }: WaitOptions = {}): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.delete(waiter);
        signal?.removeEventListener('abort', abort);
      };
      const abort = (): void => {
        leave();
        reject(signal!.reason);
      };
      const waiter: Waiter = {
        resolve: () => {
          leave();
          resolve();
        },
        reject: (reason) => {
          leave();
          reject(reason);
        },
      };
      this.#waiters.add(waiter);
      signal?.addEventListener('abort', abort);
    });
  }

  /** Ends every wait. */
  wake(): void {
    for (const waiter of [...this.#waiters]) waiter.resolve();
  }

  /** Ends every wait with an error. */
  fail(reason: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(reason);
  }
}
