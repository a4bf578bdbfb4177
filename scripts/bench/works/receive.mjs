import { countUnderLoad } from '../duel.mjs';
import { ours, peer, testpmd } from '../programs.mjs';
import { TESTPMD_READY } from './testpmd-ready.mjs';

/**
 * Frames of one size from a tap that has always more of them. What the device took from the tap lies in buffers that
 * the program gave it, and it gives none twice: so the kernel's counter counts what the program received.
 *
 * @param {number} size
 * @param {string} limit
 * @returns {import('../compare.mjs').Work}
 */
export function receive(size, limit) {
  return {
    name: `receive ${size} B`,
    unit: 'Mpps',
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('receive', tap) },
      { name: 'friendly', ours: true, command: (tap) => ours('receive-batches', tap) },
      {
        name: 'testpmd rxonly',
        command: (tap) => testpmd('rxonly', [tap]),
        ready: TESTPMD_READY,
        goal: 1,
      },
      { name: 'limit.c', command: (tap) => [limit, 'rx', tap], goal: 0.95 },
      ...(size === 60
        ? [
            { name: 'fs.readSync', command: (/** @type {string} */ tap) => peer('read-sync', tap) },
            { name: 'fs.read', command: (/** @type {string} */ tap) => peer('read', tap) },
          ]
        : []),
    ],
    measure: (contender, seconds) => countUnderLoad(contender, seconds, 'tx_packets', { size }),
  };
}
