import type { Backend, InterfaceWatch } from '../backend/backend.js';
import { type BackendOptions, openBackend } from '../backend/open.js';
import { wrongValue } from '../errors/check.js';
import { undo } from '../errors/undo.js';
import type { Kernel } from '../kernel/kernel.js';

/** A backend in its place. */
interface Placed {
  readonly backend: Backend;
  /** Whether it was opened here; one that was open already stays the caller's to close. */
  readonly owned: boolean;
  /** A vhost device says nothing of its backend's end before it is given a frame, so the interface is watched. */
  readonly watch: InterfaceWatch;
}

/** The backend that a `Nic` works on now. */
export class BackendSlot {
  readonly #queues: number;
  readonly #kernel: Kernel;
  readonly #changed: () => void;
  #placed: Placed;

  /**
   * A backend of so many queues. `changed` is called when something happened to the interface, or to another of its
   * namespace.
   */
  constructor(backend: BackendOptions | Backend, queues: number, kernel: Kernel, changed: () => void) {
    this.#queues = queues;
    this.#kernel = kernel;
    this.#changed = changed;
    this.#placed = this.#place(backend);
  }

  get backend(): Backend {
    return this.#placed.backend;
  }

  /** Puts another backend in; `keep` then closes the one before it, `undo` puts that back and closes the new one. */
  replace(backend: BackendOptions | Backend): { keep(): void; undo(): void } {
    const before = this.#placed;
    const after = this.#place(backend);
    this.#placed = after;
    return {
      keep: () => remove(before),
      undo: () => {
        this.#placed = before;
        remove(after);
      },
    };
  }

  close(): void {
    remove(this.#placed);
  }

  #place(given: BackendOptions | Backend): Placed {
    const owned = !isOpen(given);
    const backend = owned ? openBackend(given, this.#kernel, this.#queues) : given;
    try {
      if (backend.queues.length !== this.#queues)
        throw wrongValue(
          'queuePairs',
          `the number of queues of its backend, ${backend.queues.length}`,
          this.#queues,
        );
      return { backend, owned, watch: backend.interface.watch(this.#changed) };
    } catch (error) {
      if (owned) undo(() => backend.close());
      throw error;
    }
  }
}

function remove({ backend, owned, watch }: Placed): void {
  try {
    watch.close();
  } finally {
    if (owned) backend.close();
  }
}

/** Whether it is a backend that was opened, rather than what one is opened with. */
export function isOpen(backend: unknown): backend is Backend {
  return typeof backend === 'object' && backend !== null && 'kind' in backend && 'headerSize' in backend;
}
