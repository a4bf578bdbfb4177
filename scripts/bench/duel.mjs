import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from './ratios.mjs';

/** Seconds of the first turn, which counts for nothing: compilers and caches settle. */
const WARM_UP = 3;

/**
 * @typedef {object} Turn
 * @property {number} value in the work's unit
 * @property {Record<string, number>} cpu seconds of processor time per million frames, by thread
 * @property {number} [frames] moved in the turn
 * @property {Record<string, number>} [facets] where a turn has several values
 */

/**
 * Lets contenders take turns – A B C, A B C … – each resting while it is not its turn.
 *
 * @param {import('./contender.mjs').Contender[]} contenders
 * @param {(contender: import('./contender.mjs').Contender, seconds: number) => Promise<Turn>} measure
 * @param {{pairs: number, seconds: number, say: (message: string) => void}} options
 * @returns {Promise<Turn[][]>} by contender, by round
 */
export async function takeTurns(contenders, measure, { pairs, seconds, say }) {
  /** @param {import('./contender.mjs').Contender} contender @param {number} length */
  const turn = async (contender, length) => {
    contender.resume();
    const result = await measure(contender, length);
    contender.mustRun();
    contender.pause();
    return result;
  };
  for (const contender of contenders) {
    say(`warm-up: ${contender.name}`);
    await turn(contender, Math.max(WARM_UP, seconds));
  }
  /** @type {Turn[][]} */
  const turns = contenders.map(() => []);
  for (let round = 1; round <= pairs; round++) {
    for (const [i, contender] of contenders.entries()) {
      say(`round ${round} of ${pairs}: ${contender.name}`);
      const result = await turn(contender, seconds);
      if (!(result.value > 0)) throw contender.failure(`did nothing in round ${round}`);
      turns[i]?.push(result);
    }
  }
  return turns;
}

/**
 * Counts frames over a window, with what they cost.
 *
 * @param {import('./contender.mjs').Contender} contender
 * @param {number} seconds
 * @param {() => number} count frames so far
 * @param {number} [scale] of the value: 1e-6 for million frames a second
 * @returns {Promise<Turn>}
 */
export async function countFrames(contender, seconds, count, scale = 1e-6) {
  // The first moments belong to waking up.
  await sleep(250);
  const before = contender.times();
  const first = count();
  const began = performance.now();
  await sleep(seconds * 1000);
  const frames = count() - first;
  const elapsed = (performance.now() - began) / 1000;
  return { value: (frames / elapsed) * scale, cpu: perMillion(before, contender.times(), frames), frames };
}

/**
 * @param {Map<string, number>} before
 * @param {Map<string, number>} after
 * @param {number} frames
 */
export function perMillion(before, after, frames) {
  /** @type {Record<string, number>} */
  const cpu = {};
  for (const [name, seconds] of after) {
    const spent = seconds - (before.get(name) ?? 0);
    if (spent > 0) cpu[name] = Number(((spent / frames) * 1e6).toPrecision(3));
  }
  return cpu;
}

/** By thread, the median over turns. @param {Turn[]} turns */
export function medianCpu(turns) {
  /** @type {Record<string, number>} */
  const cpu = {};
  for (const name of new Set(turns.flatMap((turn) => Object.keys(turn.cpu))))
    cpu[name] = median(turns.map((turn) => turn.cpu[name] ?? 0));
  return cpu;
}
