import type { Backend } from '../backend/backend.js';
import { type BackendOptions, openBackend } from '../backend/open.js';
import type { Kernel } from '../kernel/kernel.js';

/** The backend that a `Nic` works on now, and whether it is the `Nic`'s to close. */
export class BackendSlot {
  #backend: Backend;
  #owned: boolean;
  readonly #kernel: Kernel;

  /** A backend that is open already stays the caller's. */
  constructor(backend: BackendOptions | Backend, kernel: Kernel) {
    this.#kernel = kernel;
    this.#owned = !isOpen(backend);
    this.#backend = isOpen(backend) ? backend : openBackend(backend, kernel);
  }

  get backend(): Backend {
    return this.#backend;
  }

  /** Puts another backend in; `keep` then closes the one before it, `undo` puts that back and closes the new one. */
  replace(backend: BackendOptions | Backend): { keep(): void; undo(): void } {
    const after = new BackendSlot(backend, this.#kernel);
    const before = new BackendSlot(this.#backend, this.#kernel);
    before.#owned = this.#owned;
    this.#take(after);
    return {
      keep: () => before.close(),
      undo: () => {
        this.#take(before);
        after.close();
      },
    };
  }

  /** Closes the backend where it was opened here. */
  close(): void {
    if (this.#owned) this.#backend.close();
  }

  #take(other: BackendSlot): void {
    this.#backend = other.#backend;
    this.#owned = other.#owned;
  }
}

function isOpen(backend: BackendOptions | Backend): backend is Backend {
  return 'kind' in backend && 'headerSize' in backend;
}
