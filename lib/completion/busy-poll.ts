/** Looks between two readings of the clock, each of which costs more than several of them and leaves an object. */
const LOOKS = 64;

/**
 * Looks at a ring before its program sleeps, for as long as that pays lately: after a sleep that lasted longer than
 * looking does it sleeps at once, until a sleep was short again (as kvm's `halt_poll_ns` does for an idle guest).
 */
export class BusyPoll {
  readonly #longest: number;
  readonly #clock: () => number;
  #pays = true;
  #sleptAt: number | undefined;

  /** `microseconds` that it looks at most, 0 for none. `clock`: milliseconds, monotonic. */
  constructor(microseconds = 0, clock: () => number = performance.now.bind(performance)) {
    this.#longest = microseconds / 1000;
    this.#clock = clock;
  }

  /** Looks until the device has returned something, or for long enough; whether it has. */
  look(ring: { readonly reapable: number }): boolean {
    if (this.#longest === 0) return false;
    if (this.#pays) {
      const end = this.#clock() + this.#longest;
      do for (let i = 0; i < LOOKS; i++) if (ring.reapable > 0) return true;
      while (this.#clock() < end);
    }
    this.#sleptAt = this.#clock();
    return false;
  }

  /** The sleep that a vain `look` began is over, if one did. */
  woke(): void {
    if (this.#sleptAt === undefined) return;
    this.#pays = this.#clock() - this.#sleptAt < this.#longest;
    this.#sleptAt = undefined;
  }
}
