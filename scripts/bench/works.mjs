import { compare, isWanted } from './compare.mjs';
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

/** @typedef {import('./compare.mjs').Context} Context */
/**
 * @typedef {object} Runnable
 * @property {string} name
 * @property {string[]} peers those that ours is compared with; none where it stands alone
 * @property {(context: Context) => Promise<import('./compare.mjs').Row[]>} run
 */

/** All works, in the order of the table. @param {string} limit the program of limit.c @returns {Runnable[]} */
export function works(limit) {
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
  return [
    ...compared.map((work) => ({
      name: work.name,
      peers: work.entries.flatMap(({ ours, name }) => (ours ? [] : name)),
      run: (/** @type {Context} */ context) => compare(work, context),
    })),
    tcp,
    heap,
    idle,
    opening(limit),
  ];
}

/** Words that choose nothing; `known` is what there is to choose from. */
export class UnknownWords extends Error {
  /** @param {string} what @param {string[]} words @param {string[]} known */
  constructor(what, words, known) {
    super(`no ${what} is named ${words.join('; ')}; there are: ${[...new Set(known)].join('; ')}`);
  }
}

/**
 * The works whose names contain one of the words, and which have one of the peers; where peers are named, none that has
 * no peer.
 *
 * @param {Runnable[]} all
 * @param {{works: string[], peers: string[]}} words
 * @throws {UnknownWords} where a word chooses nothing
 */
export function chosen(all, { works: names, peers }) {
  const unknown = names.filter((word) => !all.some(({ name }) => name.includes(word)));
  if (unknown.length > 0)
    throw new UnknownWords(
      'work',
      unknown,
      all.map(({ name }) => name),
    );
  const named = all.filter(({ name }) => isWanted(name, names));
  const known = named.flatMap((work) => work.peers);
  const strange = peers.filter((word) => !known.some((peer) => peer.includes(word)));
  if (strange.length > 0) throw new UnknownWords('peer of these works', strange, known);
  return peers.length === 0
    ? named
    : named.filter((work) => work.peers.some((peer) => isWanted(peer, peers)));
}
