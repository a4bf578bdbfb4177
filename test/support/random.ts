/**
 * Chance that can be had again. One number, VHOST_SEED, decides what every property test of a run does; where it is
 * not given it is chosen, and whoever fails says it.
 */

function chosenSeed(): number {
  const { VHOST_SEED: given } = process.env;
  if (given === undefined || given === '') return Math.floor(Math.random() * 2 ** 31);
  const seed = Number(given);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`VHOST_SEED must be a whole number; it is ${given}`);
  return seed;
}

/** The seed of this run. */
export const seed = chosenSeed();

/** How many operations a property gets: VHOST_RUNS, or what the test thinks right. */
export function runs(usual: number): number {
  const { VHOST_RUNS } = process.env;
  const given = Number(VHOST_RUNS);
  return Number.isInteger(given) && given > 0 ? given : usual;
}

/** Whether VHOST_TEST_LONG asks for the long form of a test. */
export const long = isLong();

function isLong(): boolean {
  const { VHOST_TEST_LONG } = process.env;
  return VHOST_TEST_LONG === '1';
}

/** A sequence of numbers that its name and the seed of the run decide (xorshift of 32 bits, by Marsaglia). */
export class Random {
  #state: number;

  constructor(name: string, from: number = seed) {
    let state = from | 0;
    for (const character of name) state = Math.imul(state ^ character.codePointAt(0)!, 0x9e37_79b1);
    this.#state = state || 1;
    for (let i = 0; i < 8; i++) this.word();
  }

  /** A number of 32 bits, never 0. */
  word(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** A whole number from 0 to `end` - 1. */
  below(end: number): number {
    return this.word() % end;
  }

  /** A whole number from `low` to `high`. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** Takes one out of a list, whichever. */
  draw<T>(from: T[]): T {
    const last = from.length - 1;
    const at = this.below(from.length);
    const drawn = from[at]!;
    from[at] = from[last]!;
    from.length = last;
    return drawn;
  }
}

/**
 * A property: `body` proves it on chance of its own. A failure tells how to have the same again.
 */
export function property(title: string, body: (random: Random) => void | Promise<void>): Mocha.Test {
  return it(title, async () => {
    try {
      await body(new Random(title));
    } catch (error) {
      if (error instanceof Error) error.message += `\n(again: VHOST_SEED=${seed})`;
      throw error;
    }
  });
}

process.stdout.write(`VHOST_SEED=${seed}\n`);
