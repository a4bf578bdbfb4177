import { setTimeout as sleep } from 'node:timers/promises';
import { Contender } from '../contender.mjs';
import { Taps } from '../network.mjs';
import { sleeps } from '../process-counters.mjs';
import { ours, run } from '../programs.mjs';
import { median } from '../ratios.mjs';

/** @typedef {import('../compare.mjs').Row} Row */
/** @typedef {import('../compare.mjs').Context} Context */

/**
 * A row of ours alone, or beside one figure of a peer.
 *
 * @param {{work: string, unit: string, values: number[], goal?: number, peer?: string, theirs?: number}} facts
 * @returns {Row}
 */
function lone({ work, unit, values, goal, peer = '–', theirs }) {
  const figure = median(values);
  return {
    work,
    tier: 'ring',
    peer,
    ours: figure,
    theirs: theirs ?? null,
    unit,
    ratio: null,
    goal: goal ?? null,
    less: true,
    reached: goal === undefined ? null : figure <= goal,
    pairs: values.length,
    cpu: { ours: {}, theirs: {} },
    syscalls: {},
  };
}

/** What a million frames leave on the heap. */
export const heap = {
  name: 'heap a million frames',
  /** @param {Context} context @returns {Promise<Row[]>} */
  async run({ say }) {
    say('heap: starting ring');
    const { bytes } = await onTap((tap) => output(ours('heap', tap)));
    return [lone({ work: heap.name, unit: 'bytes', values: [bytes], goal: 65_536 })];
  },
};

/** The time from nothing to a running device, beside the plainest program's. @param {string} limit */
export function opening(limit) {
  const name = 'Nic.open';
  return {
    name,
    /** @param {Context} context @returns {Promise<Row[]>} */
    async run({ pairs, say }) {
      /** @type {number[][]} */
      const [first, best, theirs] = [[], [], []];
      for (let i = 0; i < pairs; i++) {
        say(`${name}: round ${i + 1} of ${pairs}`);
        const mine = await onTap((tap) => output(ours('open', tap)));
        first?.push(mine.milliseconds);
        best?.push(mine.best);
        theirs?.push((await onTap((tap) => output([limit, 'open', tap]))).milliseconds);
      }
      const other = { peer: 'limit.c', theirs: median(theirs ?? []), unit: 'ms' };
      return [
        lone({ work: `${name}, the first`, values: first ?? [], ...other }),
        lone({ work: `${name}, again`, values: best ?? [], ...other }),
      ];
    },
  };
}

/** How often a program wakes that has nothing to do. */
export const idle = {
  name: 'idle wake-ups',
  /** @param {Context} context @returns {Promise<Row[]>} */
  async run({ pairs, seconds, say }) {
    return onTap(async (tap) => {
      say('idle: starting ring');
      const contender = new Contender({ name: 'ring', tap, command: ours('idle', tap) });
      try {
        await contender.start();
        // What a program does after its start comes to an end.
        await sleep(3000);
        /** @type {number[]} */
        const values = [];
        for (let i = 0; i < pairs; i++) {
          const before = sleeps(contender.pid);
          await sleep(seconds * 1000);
          values.push((sleeps(contender.pid) - before) / seconds);
        }
        return [lone({ work: idle.name, unit: 'a second', values, goal: 0 })];
      } finally {
        await contender.stop();
      }
    });
  },
};

/** @template T @param {(tap: string) => Promise<T>} something @returns {Promise<T>} */
async function onTap(something) {
  const taps = new Taps();
  try {
    return await something(await taps.add('bench0'));
  } finally {
    await taps.remove();
  }
}

/** @param {string[]} command @returns {Promise<any>} */
async function output([program = '', ...args]) {
  return JSON.parse(await run(program, ...args));
}
