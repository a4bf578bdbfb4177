import { VhostError } from '../errors/errors.js';
import type { Kernel, Poller } from '../kernel/kernel.js';

/** The waits on one socket, until it can be read or written. */
export class Readiness {
  readonly #kernel: Kernel;
  readonly #waits = new Set<{ readonly poller: Poller; readonly end: () => void }>();
  #referenced = true;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /**
   * Resolves once `fd` can be read or written, or has an error to tell. ERR_VHOST_CLOSED: `close` ended the wait. Rejects
   * with the reason of the signal.
   */
  wait(fd: number, direction: 'readable' | 'writable', signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const watch = direction === 'readable' ? 'watchReadable' : 'watchWritable';
      const leave = (): void => {
        this.#waits.delete(wait);
        signal?.removeEventListener('abort', abort);
        poller.close();
      };
      const abort = (): void => {
        leave();
        reject(signal!.reason);
      };
      const poller = this.#kernel.poller[watch](fd, () => {
        leave();
        resolve();
      });
      const end = (): void => {
        leave();
        reject(new VhostError('ERR_VHOST_CLOSED', 'the socket was closed'));
      };
      const wait = { poller, end };
      this.#waits.add(wait);
      if (!this.#referenced) poller.unref();
      signal?.addEventListener('abort', abort);
    });
  }

  /** Whether waits hold the loop. */
  set referenced(referenced: boolean) {
    this.#referenced = referenced;
    for (const { poller } of this.#waits) referenced ? poller.ref() : poller.unref();
  }

  /** Ends every wait. */
  close(): void {
    for (const { end } of [...this.#waits]) end();
  }
}
