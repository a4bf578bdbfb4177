import { ours } from '../programs.mjs';
import { countSent } from './transmit.mjs';

/**
 * Frames out with more or fewer in flight, against 256 of them: what it costs to account for many.
 *
 * @returns {import('../compare.mjs').Work}
 */
export function inFlight() {
  const sending = (/** @type {number} */ most) => (/** @type {string} */ tap) =>
    ours('transmit', tap, 60, 1, most);
  return {
    name: 'transmit 60 B, in flight',
    unit: 'Mpps',
    entries: [
      ...[1, 16, 4096, 32_768].map((most) => ({
        name: `ring, ${most.toLocaleString('en')}`,
        ours: true,
        command: sending(most),
      })),
      { name: 'own 256', command: sending(256) },
    ],
    measure: countSent,
  };
}
