import { countUnderLoad } from '../duel.mjs';
import { ours, peer } from '../programs.mjs';

/**
 * Frames that come back with their addresses swapped, without /dev/vhost-net: the worker beside what Node has of its own.
 *
 * @returns {import('../compare.mjs').Work}
 */
export function worker() {
  return {
    name: 'swap-forward 60 B, worker',
    unit: 'Mpps',
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('swap', tap, 'worker') },
      { name: 'friendly', ours: true, command: (tap) => ours('swap-batches', tap, 'worker') },
      { name: 'fs.read, fs.write', command: (tap) => peer('swap', tap), goal: 5 },
    ],
    measure: (contender, seconds) => countUnderLoad(contender, seconds, 'rx_packets', { size: 60 }),
  };
}
