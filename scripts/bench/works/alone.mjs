import { setTimeout as sleep } from 'node:timers/promises';
import { Contender } from '../contender.mjs';
import { inTurn } from '../duel.mjs';
import { Taps } from '../network.mjs';
import { underLoad } from '../pktgen.mjs';
import { activity } from '../process-counters.mjs';
import { ours, run } from '../programs.mjs';
import { median } from '../ratios.mjs';

/** @typedef {import('../compare.mjs').Row} Row */
/** @typedef {import('../compare.mjs').Context} Context */

/**
 * A row of ours alone, or beside one figure of a peer.
 *
 * @param {{work: string, tier?: string, unit: string, values: number[], goal?: number, peer?: string, theirs?: number}} facts
 * @returns {Row}
 */
function lone({ work, tier = 'ring', unit, values, goal, peer = '–', theirs }) {
  const figure = median(values);
  return {
    work,
    tier,
    peer,
    ours: figure,
    theirs: theirs ?? null,
    unit,
    ratio: null,
    goal: goal ?? null,
    less: true,
    reached: goal === undefined ? null : figure <= goal,
    pairs: values.length,
    cpu: { ours: null, theirs: null },
    syscalls: { ours: null, theirs: null },
    dropped: { ours: null, theirs: null },
  };
}

const HEAP = 'heap a million frames';

/** What a million frames allocate on the heap: with young space for more than they may, nothing is collected meanwhile. */
export const heap = {
  name: HEAP,
  peers: [],
  /** @param {Context} context @returns {Promise<Row[]>} */
  async run({ say }) {
    /** @type {Row[]} */
    const rows = [];
    for (const way of ['transmit', 'receive']) {
      say(`${HEAP}: ${way}`);
      const bytes = await onTap((tap) => allocated(way, tap));
      rows.push(lone({ work: `${HEAP}, ${way}`, unit: 'bytes', values: [bytes], goal: 65_536 }));
    }
    return rows;
  },
};

/** @param {string} way @param {string} tap */
async function allocated(way, tap) {
  const [node = '', ...program] = ours('heap', way, tap);
  const command = [node, '--min-semi-space-size=64', '--max-semi-space-size=64', ...program];
  const contender = new Contender({ name: `heap, ${way}`, tap, command });
  try {
    await contender.start();
    const measure = () => contender.ask('', 1_200_000);
    const { bytes, collections } = await (way === 'receive'
      ? underLoad(tap, { size: 60 }, measure)
      : measure());
    if (collections > 0)
      throw contender.failure(`was collected ${collections} times, which hides what it took`);
    return bytes;
  } finally {
    await contender.stop();
  }
}

/** The time from nothing to a running device, beside the plainest program's. @param {string} limit */
export function opening(limit) {
  const name = 'Nic.open';
  return {
    name,
    peers: ['limit.c'],
    /** @param {Context} context @returns {Promise<Row[]>} */
    async run({ pairs, say }) {
      const commands = [
        (/** @type {string} */ tap) => ours('open', tap),
        (/** @type {string} */ tap) => [limit, 'open', tap],
      ];
      /** @type {[{milliseconds: number, best: number}[], {milliseconds: number}[]]} */
      const [mine, theirs] = [[], []];
      // The first round is to warm up.
      for (let round = 0; round <= pairs; round++) {
        say(`${name}: ${round === 0 ? 'warm-up' : `round ${round} of ${pairs}`}`);
        for (const i of inTurn(2, round)) {
          const result = await onTap((tap) => output(commands[i]?.(tap) ?? []));
          if (round > 0) (i === 0 ? mine : theirs).push(result);
        }
      }
      const milliseconds = theirs.map((each) => each.milliseconds);
      const other = { tier: 'friendly', peer: 'limit.c', theirs: median(milliseconds), unit: 'ms' };
      return [
        lone({ work: `${name}, the first`, values: mine.map((each) => each.milliseconds), ...other }),
        lone({ work: `${name}, again`, values: mine.map(({ best }) => best), ...other }),
      ];
    },
  };
}

const IDLE = 'idle';

/** How often a program wakes that has nothing to do, and how long it runs, its device included. */
export const idle = {
  name: IDLE,
  peers: [],
  /** @param {Context} context @returns {Promise<Row[]>} */
  async run(context) {
    /** @type {Row[]} */
    const rows = [];
    for (const tier of ['ring', 'friendly'])
      rows.push(...(await onTap((tap) => idleRows(tier, tap, context))));
    return rows;
  },
};

/** @param {string} tier @param {string} tap @param {Context} context */
async function idleRows(tier, tap, { pairs, seconds, say }) {
  say(`${IDLE}: starting ${tier}`);
  const contender = new Contender({ name: tier, tap, command: ours('idle', tap, tier) });
  try {
    await contender.start();
    // What a program does after its start comes to an end.
    await sleep(3000);
    /** @type {{wakeups: number, seconds: number}[]} */
    const rounds = [];
    for (let round = 1; round <= pairs; round++) {
      say(`${IDLE}: round ${round} of ${pairs}: ${tier}`);
      const before = activity(contender.pid);
      await sleep(seconds * 1000);
      contender.mustRun();
      const after = activity(contender.pid);
      rounds.push({ wakeups: after.wakeups - before.wakeups, seconds: after.seconds - before.seconds });
    }
    const rate = (/** @type {number} */ total) => total / seconds;
    return [
      lone({
        work: `${IDLE}, wake-ups`,
        tier,
        unit: 'a second',
        values: rounds.map(({ wakeups }) => rate(wakeups)),
        goal: 0,
      }),
      lone({
        work: `${IDLE}, CPU`,
        tier,
        unit: 's a second',
        values: rounds.map((each) => rate(each.seconds)),
        goal: 0,
      }),
    ];
  } finally {
    await contender.stop();
  }
}

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
