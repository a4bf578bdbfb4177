import { BenchError, Contender } from './contender.mjs';
import { countCalls, medianCpu, takeTurns } from './duel.mjs';
import { Taps } from './network.mjs';
import { median, ratios } from './ratios.mjs';

/** The friendly tier must reach this much of what the ring tier must. */
const FRIENDLY_PART = 0.7;

/** @typedef {import('./duel.mjs').Turn} Turn */
/** @typedef {import('./duel.mjs').ByThread} ByThread */
/**
 * @typedef {object} Entry a contender of a work
 * @property {string} name for ours the tier, for a peer its name
 * @property {boolean} [ours]
 * @property {(tap: string) => string[]} command
 * @property {RegExp} [ready]
 * @property {boolean} [multiQueue] its tap may have several queues
 * @property {number} [goal] for a peer: the ratio that the ring tier must reach
 */
/**
 * @typedef {object} Work
 * @property {string} name
 * @property {string} unit
 * @property {boolean} [less] less is better, and a goal is the most allowed
 * @property {Entry[]} entries
 * @property {Facet[]} [facets] where a turn has several values: a row for each
 * @property {import('./duel.mjs').Measure} measure
 * @property {(tap: string) => Promise<void>} [prepare] a tap before its program starts
 */
/** @typedef {{key: string, word: string, goals?: boolean}} Facet `word` joins the work's name; `goals` if they are its */
/**
 * @typedef {object} Row
 * @property {string} work
 * @property {string} tier
 * @property {string} peer
 * @property {number} ours
 * @property {number | null} theirs
 * @property {string} unit
 * @property {{min: number, median: number, max: number} | null} ratio
 * @property {number | null} goal
 * @property {boolean} less
 * @property {boolean | null} reached
 * @property {number} pairs
 * @property {{ours: ByThread, theirs: ByThread}} cpu null where no thread of a contender tells
 * @property {{ours: ByThread, theirs: ByThread}} syscalls null where nobody could count them
 * @property {{ours: number | null, theirs: number | null}} dropped of the frames offered, the share that found no room
 */
/** @typedef {{pairs: number, seconds: number, peers: string[], say: (message: string) => void, limit: string}} Context */

/** Whether a name is asked for: by one of the words, or by none at all. @param {string} name @param {string[]} words */
export function isWanted(name, words) {
  return words.length === 0 || words.some((word) => name.includes(word));
}

/**
 * Ours and the peers that are asked for; none where no peer is.
 *
 * @template {{name: string, ours?: boolean}} T
 * @param {T[]} entries
 * @param {string[]} peers
 */
export function wantedEntries(entries, peers) {
  const wanted = entries.filter(({ ours, name }) => ours || isWanted(name, peers));
  return wanted.every(({ ours }) => ours) ? [] : wanted;
}

/**
 * Lets every contender of a work start, take turns, and end; a row for each tier of ours against each peer.
 *
 * @param {Work} work
 * @param {Context} context
 * @returns {Promise<Row[]>}
 */
export async function compare(work, context) {
  const entries = wantedEntries(work.entries, context.peers);
  if (entries.length === 0) return [];
  const taps = new Taps();
  /** @type {Contender[]} */
  const contenders = [];
  try {
    for (const [i, { name, command, ready, multiQueue }] of entries.entries()) {
      context.say(`${work.name}: starting ${name}`);
      const tap = await taps.add(`bench${i}`, multiQueue);
      await work.prepare?.(tap);
      const contender = new Contender({ name, tap, command: command(tap), ...(ready && { ready }) });
      contenders.push(contender);
      await contender.start();
      contender.pause();
    }
    const say = (/** @type {string} */ message) => context.say(`${work.name}: ${message}`);
    const turns = await takeTurns(contenders, work.measure, { ...context, say });
    const calls = await countCalls(contenders, work.measure, say);
    return facetsOf(work, entries, turns).flatMap((facet) =>
      makeRows(facet.work, facet.entries, facet.turns, calls),
    );
  } finally {
    await Promise.all(contenders.map((contender) => contender.stop()));
    await taps.remove();
  }
}

/** A work of several values is one work for each. @param {Work} work @param {Entry[]} entries @param {Turn[][]} turns */
function facetsOf(work, entries, turns) {
  const { facets } = work;
  if (facets === undefined) return [{ work, entries, turns }];
  return facets.map(({ key, word, goals = false }) => ({
    work: { ...work, name: `${work.name}, ${word}` },
    entries: goals ? entries : entries.map(({ goal, ...entry }) => entry),
    turns: turns.map((all) => all.map((turn) => ({ ...turn, value: facet(turn, key) }))),
  }));
}

/** @param {Turn} turn @param {string} key */
function facet({ facets }, key) {
  const value = facets?.[key];
  if (!(Number(value) >= 0)) throw new BenchError(`a turn has no ${key}: ${JSON.stringify(facets)}`);
  return Number(value);
}

/**
 * @param {Pick<Work, 'name' | 'unit' | 'less'>} work
 * @param {Pick<Entry, 'name' | 'ours' | 'goal'>[]} entries
 * @param {Turn[][]} turns
 * @param {(ByThread | undefined)[]} calls
 * @returns {Row[]}
 */
export function makeRows({ name, unit, less = false }, entries, turns, calls = []) {
  /** @type {Row[]} */
  const rows = [];
  for (const [mine, { ours: own, name: tier }] of entries.entries()) {
    if (!own) continue;
    for (const [other, { ours: alsoOwn, name: peer, goal }] of entries.entries()) {
      if (alsoOwn) continue;
      const [a = [], b = []] = [turns[mine], turns[other]];
      const ratio = ratios(a.map(figure), b.map(figure));
      const wanted = goal === undefined ? null : goalOf(tier, goal, less);
      rows.push({
        work: name,
        tier,
        peer,
        ours: median(a.map(figure)),
        theirs: median(b.map(figure)),
        unit,
        ratio,
        goal: wanted,
        less,
        reached: wanted === null ? null : less ? ratio.median <= wanted : ratio.median >= wanted,
        pairs: a.length,
        cpu: { ours: medianCpu(a), theirs: medianCpu(b) },
        syscalls: { ours: calls[mine] ?? null, theirs: calls[other] ?? null },
        dropped: { ours: medianDropped(a), theirs: medianDropped(b) },
      });
    }
  }
  if (rows.length === 0) throw new BenchError(`${name}: nothing was compared`);
  return rows;
}

/** @param {string} tier @param {number} goal @param {boolean} less */
function goalOf(tier, goal, less) {
  if (!tier.startsWith('friendly')) return goal;
  return Number((less ? goal / FRIENDLY_PART : goal * FRIENDLY_PART).toFixed(3));
}

/** @param {Turn[]} turns */
function medianDropped(turns) {
  const shares = turns.flatMap(({ dropped }) => dropped ?? []);
  return shares.length === 0 ? null : median(shares);
}

/** @param {Turn} turn */
function figure({ value }) {
  return value;
}
