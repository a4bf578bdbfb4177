import { countUnderLoad } from '../duel.mjs';
import { ours, testpmd } from '../programs.mjs';
import { TESTPMD_READY } from './testpmd-ready.mjs';

/**
 * Frames that come back with their addresses swapped; counted when they are back.
 *
 * @param {string} limit
 * @returns {import('../compare.mjs').Work}
 */
export function swap(limit) {
  return {
    name: 'swap-forward 60 B',
    unit: 'Mpps',
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('swap', tap) },
      { name: 'friendly', ours: true, command: (tap) => ours('swap-batches', tap) },
      {
        name: 'testpmd macswap',
        command: (tap) => testpmd('macswap', [tap]),
        ready: TESTPMD_READY,
        goal: 1.1,
      },
      { name: 'limit.c', command: (tap) => [limit, 'swap', tap] },
    ],
    measure: (contender, seconds) => countUnderLoad(contender, seconds, 'rx_packets', { size: 60 }),
  };
}
