import { readFileSync } from 'node:fs';
import { costs } from '../duel.mjs';
import { echoRequest, STATION_MAC } from '../icmp-echo.mjs';
import { ours, run } from '../programs.mjs';

/** Microseconds that a polling side looks before it sleeps. */
const POLLS = 1000;

/**
 * One frame there and its answer back, one at a time: an ICMP echo that the host's stack answers. limit.c waits as ours
 * does; where it polls, its device polls as ours does in a contender of its own.
 *
 * @param {'polling' | 'sleeping'} manner of our program
 * @param {string} limit
 * @returns {import('../compare.mjs').Work}
 */
export function echo(manner, limit) {
  const polling = manner === 'polling';
  const polls = polling ? POLLS : 0;
  return {
    name: `round trip, ${manner}`,
    unit: 'µs',
    less: true,
    facets: [
      { key: 'p50', word: 'p50', goals: true },
      { key: 'p99', word: 'p99' },
      { key: 'p999', word: 'p99.9' },
    ],
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('echo', tap, requestTo(tap), polls) },
      { name: 'friendly', ours: true, command: (tap) => ours('echo-batches', tap, requestTo(tap), polls) },
      ...(polling
        ? [
            {
              name: 'limit.c',
              command: (/** @type {string} */ tap) => [limit, 'echo', tap, requestTo(tap), '0'],
              goal: 1.3,
            },
            {
              name: 'limit.c, device polls',
              command: (/** @type {string} */ tap) => [limit, 'echo', tap, requestTo(tap), String(POLLS)],
              goal: 1.3,
            },
          ]
        : [
            { name: 'limit.c', command: (/** @type {string} */ tap) => [limit, 'echo', tap, requestTo(tap)] },
          ]),
    ],
    prepare,
    measure: async (contender, seconds) => {
      const before = contender.spent();
      const { count, ...facets } = await contender.ask(String(seconds));
      return { value: facets.p50, facets, ...costs(before, contender.spent(), count) };
    },
  };
}

/** Gives the tap a network of its own and tells the host where the station is. @param {string} tap */
async function prepare(tap) {
  await run('ip', 'address', 'add', `${address(tap, 1)}/24`, 'dev', tap);
  const permanent = ['lladdr', STATION_MAC, 'dev', tap, 'nud', 'permanent'];
  await run('ip', 'neighbour', 'replace', address(tap, 2), ...permanent);
}

/** @param {string} tap @param {number} host */
function address(tap, host) {
  return `10.99.${tap.replace(/\D/g, '')}.${host}`;
}

/** @param {string} tap */
function requestTo(tap) {
  const mac = readFileSync(`/sys/class/net/${tap}/address`, 'utf8').trim();
  return echoRequest(mac, address(tap, 1), address(tap, 2));
}
