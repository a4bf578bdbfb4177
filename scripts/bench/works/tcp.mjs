import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeRows, wantedEntries } from '../compare.mjs';
import { BenchError, Contender } from '../contender.mjs';
import { costs, countCalls, takeTurns } from '../duel.mjs';
import { Namespaces } from '../namespaces.mjs';
import { ours, run, testpmd } from '../programs.mjs';
import { TESTPMD_READY } from './testpmd-ready.mjs';

/** Seconds in which a connection finds its pace; they count for nothing. */
const SLOW_START = 2;
/** Payload of a full segment, with timestamps. */
const SEGMENT = 1448;

const ENTRIES = [
  { name: 'ring', ours: true, link: throughTaps((left, right) => ours('forward', left, right)) },
  {
    name: 'friendly',
    ours: true,
    link: throughTaps((left, right) => ours('forward-batches', left, right)),
  },
  {
    name: 'testpmd io',
    link: throughTaps((left, right) => testpmd('io', [left, right]), TESTPMD_READY),
    goal: 2.5,
  },
  { name: 'kernel bridge', link: throughBridge, goal: 0.5 },
];

/**
 * TCP from one namespace to another, as iperf3 measures it, through a program between two taps or through the
 * kernel's own bridge between two pairs of veth.
 */
export const tcp = {
  name: 'TCP through a forwarder',
  peers: ENTRIES.flatMap(({ ours: own, name }) => (own ? [] : name)),
  /** @param {import('../compare.mjs').Context} context */
  async run({ pairs, seconds, peers, say }) {
    const entries = wantedEntries(ENTRIES, peers);
    if (entries.length === 0) return [];
    const namespaces = new Namespaces();
    /** @type {Contender[]} */
    const contenders = [];
    /** @type {import('node:child_process').ChildProcess[]} */
    const servers = [];
    try {
      for (const [i, { name, link }] of entries.entries()) {
        say(`TCP: starting ${name}`);
        const [left, right] = [await namespaces.add(`left${i}`), await namespaces.add(`right${i}`)];
        contenders.push(await link(name, i, left, right));
        servers.push(serve(right));
      }
      for (const contender of contenders) contender.pause();
      const tell = (/** @type {string} */ what) => say(`TCP: ${what}`);
      const turns = await takeTurns(contenders, measure, { pairs, seconds, say: tell });
      const calls = await countCalls(contenders, measure, tell);
      return makeRows({ name: tcp.name, unit: 'Gbit/s' }, entries, turns, calls);
    } finally {
      await Promise.all(contenders.map((contender) => contender.stop()));
      for (const server of servers) server.kill('SIGKILL');
      await namespaces.remove();
      for (const i of entries.keys()) await run('ip', 'link', 'del', `bridge${i}`).catch(() => {});
    }
  },
};

/** @param {string} namespace */
function serve(namespace) {
  return spawn('ip', ['netns', 'exec', namespace, 'iperf3', '-s'], { stdio: 'ignore' });
}

/**
 * @param {Contender} contender
 * @param {number} seconds
 * @returns {Promise<import('../duel.mjs').Turn>}
 */
async function measure(contender, seconds) {
  const number = contender.tap;
  const before = contender.spent();
  const client = [
    'iperf3',
    '-c',
    `10.98.${number}.2`,
    '-O',
    String(SLOW_START),
    '-t',
    String(seconds),
    '-J',
    '--connect-timeout',
    '10000',
  ];
  const report = JSON.parse(await run('ip', 'netns', 'exec', `left${number}`, ...client));
  const received = report.end?.sum_received;
  if (!(received?.bytes > 0))
    throw new BenchError(`${contender.name}: iperf3 moved nothing: ${report.error}`);
  // By full segments, whatever sizes travelled. What was sent in the seconds that do not count has its cost as well.
  /** @type {{sum: {bytes: number}}[]} */
  const intervals = report.intervals;
  const segments = intervals.reduce((all, { sum }) => all + sum.bytes, 0) / SEGMENT;
  return {
    value: received.bits_per_second / 1e9,
    ...costs(before, contender.spent(), segments),
  };
}

/**
 * @param {(left: string, right: string) => string[]} command
 * @param {RegExp} [ready]
 */
function throughTaps(command, ready) {
  /** @param {string} name @param {number} i @param {string} left @param {string} right */
  return async (name, i, left, right) => {
    const ends = [`left-${i}`, `right-${i}`];
    for (const end of ends) await run('ip', 'tuntap', 'add', 'dev', end, 'mode', 'tap', 'vnet_hdr');
    const [a = '', b = ''] = ends;
    const contender = new Contender({
      name,
      tap: String(i),
      command: command(a, b),
      ...(ready && { ready }),
    });
    // A tap must be in sight of the program that opens it; then it moves to its namespace.
    await contender.start();
    await settle(i, [a, left], [b, right]);
    return contender;
  };
}

/** @param {string} name @param {number} i @param {string} left @param {string} right */
async function throughBridge(name, i, left, right) {
  await run('ip', 'link', 'add', `bridge${i}`, 'type', 'bridge');
  await run('ip', 'link', 'set', `bridge${i}`, 'up');
  for (const side of ['left', 'right']) {
    await run('ip', 'link', 'add', `${side}-${i}`, 'type', 'veth', 'peer', 'name', `${side}-port${i}`);
    await run('ip', 'link', 'set', `${side}-port${i}`, 'master', `bridge${i}`, 'up');
  }
  // Nothing of it runs in a process; something must be there to rest and to go on.
  const contender = new Contender({
    name,
    tap: String(i),
    command: ['sh', '-c', 'echo ready; exec sleep 100000'],
    inKernel: true,
  });
  await contender.start();
  await settle(i, [`left-${i}`, left], [`right-${i}`, right]);
  return contender;
}

/**
 * Moves each end to its namespace and gives it an address.
 *
 * @param {number} i
 * @param {...[string, string]} ends interface and namespace
 */
async function settle(i, ...ends) {
  for (const [host, [link, namespace]] of ends.entries()) {
    await run('ip', 'link', 'set', link, 'netns', namespace);
    await run('ip', '-n', namespace, 'address', 'add', `10.98.${i}.${host + 1}/24`, 'dev', link);
    await run('ip', '-n', namespace, 'link', 'set', link, 'up');
  }
  const [[, namespace]] = /** @type {[[string, string]]} */ (/** @type {unknown} */ (ends));
  for (const deadline = Date.now() + 30_000; ; await sleep(200)) {
    const answered = await run('ip', 'netns', 'exec', namespace, 'ping', '-c1', '-W1', `10.98.${i}.2`).catch(
      () => undefined,
    );
    if (answered !== undefined) return;
    if (Date.now() > deadline) throw new BenchError(`the two sides of link ${i} do not hear each other`);
  }
}
