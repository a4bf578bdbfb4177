import { countUnderLoad } from '../duel.mjs';
import { ours, testpmd } from '../programs.mjs';
import { TESTPMD_READY } from './testpmd-ready.mjs';

/**
 * What it costs to receive 10,000 frames a second: microseconds of processor for each, the kernel's worker included.
 *
 * @returns {import('../compare.mjs').Work}
 */
export function trickle() {
  return {
    name: 'CPU at 10,000 frames/s',
    unit: 'µs of CPU a frame',
    less: true,
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('receive-paced', tap) },
      { name: 'friendly', ours: true, command: (tap) => ours('receive-paced-batches', tap) },
      { name: 'testpmd rxonly', command: (tap) => testpmd('rxonly', [tap]), ready: TESTPMD_READY, goal: 0.2 },
    ],
    measure: async (contender, seconds) => {
      const turn = await countUnderLoad(contender, seconds, 'tx_packets', { size: 60, rate: 10_000 });
      // Seconds for a million frames are microseconds for one.
      return { ...turn, value: Object.values(turn.cpu ?? {}).reduce((sum, seconds) => sum + seconds, 0) };
    },
  };
}
