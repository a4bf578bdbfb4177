import { compare } from './compare.mjs';
import { heap, idle, opening } from './works/alone.mjs';
import { echo } from './works/echo.mjs';
import { inFlight } from './works/in-flight.mjs';
import { queuePairs } from './works/queue-pairs.mjs';
import { receive } from './works/receive.mjs';
import { swap } from './works/swap.mjs';
import { tcp } from './works/tcp.mjs';
import { transmit } from './works/transmit.mjs';
import { trickle } from './works/trickle.mjs';
import { uso } from './works/uso.mjs';
import { worker } from './works/worker.mjs';

/** @typedef {{name: string, run: (context: import('./compare.mjs').Context) => Promise<import('./compare.mjs').Row[]>}} Runnable */

/**
 * The works, in the order of the table; those whose names contain one of the words asked for.
 *
 * @param {import('./compare.mjs').Context & {works: string[]}} context
 * @returns {Runnable[]}
 */
export function works({ works: words, limit }) {
  const compared = [
    transmit(60, limit),
    transmit(1514, limit),
    receive(60, limit),
    receive(1514, limit),
    swap(limit),
    worker(),
    echo('polling', limit),
    echo('sleeping', limit),
    trickle(),
    uso(),
    queuePairs(),
    inFlight(),
  ];
  /** @type {Runnable[]} */
  const all = [
    ...compared.map((work) => ({
      name: work.name,
      run: (/** @type {import('./compare.mjs').Context} */ context) => compare(work, context),
    })),
    tcp,
    heap,
    idle,
    opening(limit),
  ];
  return words.length === 0 ? all : all.filter(({ name }) => words.some((word) => name.includes(word)));
}
