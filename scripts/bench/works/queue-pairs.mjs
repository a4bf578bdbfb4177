import { ours } from '../programs.mjs';
import { countSent } from './transmit.mjs';

/**
 * Frames out on several queue pairs, each with a worker of the kernel, driven by one thread, against one pair.
 *
 * @returns {import('../compare.mjs').Work}
 */
export function queuePairs() {
  return {
    name: 'transmit 60 B, queue pairs',
    unit: 'Mpps',
    entries: [
      ...[2, 4].map((pairs) => ({
        name: `ring, ${pairs} pairs`,
        ours: true,
        multiQueue: true,
        command: (/** @type {string} */ tap) => ours('transmit', tap, 60, pairs),
      })),
      { name: 'own 1 pair', command: (tap) => ours('transmit', tap, 60) },
    ],
    measure: countSent,
  };
}
