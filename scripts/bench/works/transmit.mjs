import { countFrames } from '../duel.mjs';
import { ours, peer, testpmd } from '../programs.mjs';
import { udpFrame } from '../udp-frame.mjs';
import { TESTPMD_READY } from './testpmd-ready.mjs';

/** What came out of the tap. @type {import('../compare.mjs').Work['measure']} */
export const countSent = (contender, seconds) => countFrames(contender, seconds, 'rx_packets');

/**
 * Frames of one size out to a tap, as many as go.
 *
 * @param {number} size
 * @param {string} limit
 * @returns {import('../compare.mjs').Work}
 */
export function transmit(size, limit) {
  return {
    name: `transmit ${size} B`,
    unit: 'Mpps',
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('transmit', tap, size) },
      { name: 'friendly', ours: true, command: (tap) => ours('send', tap, size) },
      {
        name: 'testpmd txonly',
        command: (tap) => testpmd('txonly', [tap], `--txpkts=${size}`),
        ready: TESTPMD_READY,
        goal: 1,
      },
      { name: 'limit.c', command: (tap) => [limit, 'tx', tap, udpFrame(size).toString('hex')], goal: 0.95 },
      ...(size === 60
        ? [
            {
              name: 'fs.writeSync',
              command: (/** @type {string} */ tap) => peer('write-sync', tap, size),
              goal: 2,
            },
            {
              name: 'fs.write',
              command: (/** @type {string} */ tap) => peer('write', tap, size, 1),
              goal: 50,
            },
            {
              name: 'fs.write, 4 at once',
              command: (/** @type {string} */ tap) => peer('write', tap, size, 4),
            },
          ]
        : []),
    ],
    measure: countSent,
  };
}
