import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { interfaceCounter } from './interface-counters.mjs';
import { underLoad } from './pktgen.mjs';
import { median } from './ratios.mjs';
import { whileCounting } from './system-calls.mjs';

/** Seconds of the first turn, which counts for nothing: compilers and caches settle. */
const WARM_UP = 3;

/** @typedef {import('./contender.mjs').Contender} Contender */
/** @typedef {import('./interface-counters.mjs').Counter} Counter */
/** @typedef {Record<string, number> | null} ByThread null where nothing of a contender runs in threads of its own */
/**
 * @typedef {object} Turn
 * @property {number} value in the work's unit
 * @property {ByThread} cpu seconds of processor time per million frames, by thread
 * @property {ByThread} [calls] system calls per million frames, by thread, where they were counted
 * @property {number} [dropped] of the frames that a source offered, the share that found no room
 * @property {Record<string, number>} [facets] where a turn has several values
 */
/** @typedef {(contender: Contender, seconds: number) => Promise<Turn>} Measure */

/**
 * Lets contenders take turns – A B C, B C A … – each resting while it is not its turn.
 *
 * @param {Contender[]} contenders
 * @param {Measure} measure
 * @param {{pairs: number, seconds: number, say: (message: string) => void}} options
 * @returns {Promise<Turn[][]>} by contender, by round
 */
export async function takeTurns(contenders, measure, { pairs, seconds, say }) {
  for (const contender of contenders) {
    say(`warm-up: ${contender.name}`);
    await turn(contender, () => measure(contender, Math.max(WARM_UP, seconds)));
  }
  /** @type {Turn[][]} */
  const turns = contenders.map(() => []);
  for (let round = 1; round <= pairs; round++) {
    for (const i of inTurn(contenders.length, round - 1)) {
      const contender = /** @type {Contender} */ (contenders[i]);
      say(`round ${round} of ${pairs}: ${contender.name}`);
      const result = await turn(contender, () => measure(contender, seconds));
      if (!(result.value > 0)) throw contender.failure(`did nothing in round ${round}`);
      turns[i]?.push(result);
    }
  }
  return turns;
}

/**
 * The system calls of each in a turn of its own, per million frames; undefined where the kernel cannot count.
 *
 * @param {Contender[]} contenders
 * @param {Measure} measure
 * @param {(message: string) => void} say
 */
export async function countCalls(contenders, measure, say) {
  /** @type {(ByThread | undefined)[]} */
  const all = [];
  for (const contender of contenders) {
    say(`counting system calls of ${contender.name}`);
    contender.counted = true;
    const result = await whileCounting(() => turn(contender, () => measure(contender, 1)));
    contender.counted = false;
    all.push(result?.calls);
  }
  return all;
}

/** @template T @param {Contender} contender @param {() => Promise<T>} something */
async function turn(contender, something) {
  contender.resume();
  const result = await something();
  contender.mustRun();
  contender.pause();
  return result;
}

/** The numbers below `count`, from another one each round: whoever comes first profits from none. @param {number} count @param {number} round */
export function inTurn(count, round) {
  return Array.from({ length: count }, (_, i) => (round + i) % count);
}

/**
 * Counts over a window what an interface counts, with what each million frames cost.
 *
 * @param {Contender} contender
 * @param {number} seconds
 * @param {Counter} counter of the contender's tap
 * @param {{scale?: number, frame?: number}} [unit] of the value: 1e-6 (the default) for million frames a second; what the
 *   counter counts for a frame, 1 by default
 * @returns {Promise<Turn>}
 */
export async function countFrames(contender, seconds, counter, { scale = 1e-6, frame = 1 } = {}) {
  const read = () => interfaceCounter(contender.tap, counter);
  // The first moments belong to waking up.
  await sleep(250);
  const before = contender.spent();
  const first = read();
  const began = performance.now();
  await sleep(seconds * 1000);
  const counted = read() - first;
  const elapsed = (performance.now() - began) / 1000;
  return { value: (counted / elapsed) * scale, ...costs(before, contender.spent(), counted / frame) };
}

/**
 * Counts frames while a source offers them, and the share of these that the tap had no room for: where it is 0, the
 * source was the limit and not the contender.
 *
 * @param {Contender} contender
 * @param {number} seconds
 * @param {Counter} counter
 * @param {Parameters<typeof underLoad>[1]} load
 * @returns {Promise<Turn>}
 */
export function countUnderLoad(contender, seconds, counter, load) {
  const { tap } = contender;
  return underLoad(tap, load, async () => {
    const [taken, dropped] = [interfaceCounter(tap, 'tx_packets'), interfaceCounter(tap, 'tx_dropped')];
    const result = await countFrames(contender, seconds, counter);
    const lost = interfaceCounter(tap, 'tx_dropped') - dropped;
    const offered = interfaceCounter(tap, 'tx_packets') - taken + lost;
    return { ...result, dropped: Number((lost / offered).toPrecision(3)) };
  });
}

/**
 * @param {import('./contender.mjs').Spent | null} before
 * @param {import('./contender.mjs').Spent | null} after
 * @param {number} frames
 * @returns {{cpu: ByThread, calls: ByThread}}
 */
export function costs(before, after, frames) {
  if (before === null || after === null) return { cpu: null, calls: null };
  return {
    cpu: perMillion(before.cpu, after.cpu, frames),
    calls: perMillion(before.calls, after.calls, frames),
  };
}

/**
 * @param {Map<string, number>} before
 * @param {Map<string, number>} after
 * @param {number} frames
 */
function perMillion(before, after, frames) {
  /** @type {Record<string, number>} */
  const all = {};
  for (const [name, count] of after) {
    const spent = count - (before.get(name) ?? 0);
    if (spent > 0) all[name] = Number(((spent / frames) * 1e6).toPrecision(3));
  }
  return all;
}

/** By thread, the median over turns. @param {Turn[]} turns @returns {ByThread} */
export function medianCpu(turns) {
  /** @type {Record<string, number>} */
  const all = {};
  for (const name of new Set(turns.flatMap(({ cpu }) => Object.keys(cpu ?? {}))))
    all[name] = median(turns.map(({ cpu }) => cpu?.[name] ?? 0));
  return turns.every(({ cpu }) => cpu === null) ? null : all;
}
