import { BenchError, Contender } from './contender.mjs';
import { medianCpu, takeTurns } from './duel.mjs';
import { Taps } from './network.mjs';
import { median, ratios } from './ratios.mjs';
import { countCalls } from './system-calls.mjs';

/** The friendly tier must reach this much of what the ring tier must. */
const FRIENDLY_PART = 0.7;

/** @typedef {import('./duel.mjs').Turn} Turn */
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
 * @property {boolean} [calls] count system calls; default true
 * @property {(contender: Contender, seconds: number) => Promise<Turn>} measure
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
 * @property {{ours: Record<string, number>, theirs: Record<string, number>}} cpu
 * @property {{ours?: Record<string, number> | undefined, theirs?: Record<string, number> | undefined}} syscalls
 */
/** @typedef {{pairs: number, seconds: number, peers: string[], say: (message: string) => void, limit: string}} Context */

/** Whether a peer is to run, by the words that name peers. @param {string} peer @param {string[]} words */
export function isWanted(peer, words) {
  return words.length === 0 || words.some((word) => peer.includes(word));
}

/**
 * Lets every contender of a work start, take turns, and end; a row for each tier of ours against each peer.
 *
 * @param {Work} work
 * @param {Context} context
 * @returns {Promise<Row[]>}
 */
export async function compare(work, context) {
  const entries = work.entries.filter(({ ours, name }) => ours || isWanted(name, context.peers));
  if (entries.every(({ ours }) => ours) && work.entries.some(({ ours }) => !ours)) return [];
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
    const calls = work.calls === false ? [] : await callsPerMillion(work, contenders, say);
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
    turns: turns.map((all) => all.map((turn) => ({ ...turn, value: turn.facets?.[key] ?? Number.NaN }))),
  }));
}

/** @param {Work} work @param {Contender[]} contenders @param {(message: string) => void} say */
async function callsPerMillion(work, contenders, say) {
  /** @type {(Record<string, number> | undefined)[]} */
  const all = [];
  for (const contender of contenders) {
    say(`counting system calls of ${contender.name}`);
    contender.resume();
    let frames = 0;
    const calls = await countCalls(contender.pid, async () => {
      const turn = await work.measure(contender, 1);
      frames = turn.frames ?? 0;
    });
    contender.pause();
    all.push(
      calls && frames > 0
        ? Object.fromEntries(
            Object.entries(calls).map(([name, count]) => [name, Math.round((count / frames) * 1e6)]),
          )
        : undefined,
    );
  }
  return all;
}

/**
 * @param {Pick<Work, 'name' | 'unit' | 'less'>} work
 * @param {Pick<Entry, 'name' | 'ours' | 'goal'>[]} entries
 * @param {Turn[][]} turns
 * @param {(Record<string, number> | undefined)[]} calls
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
        syscalls: { ours: calls[mine], theirs: calls[other] },
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

/** @param {Turn} turn */
function figure({ value }) {
  return value;
}
