import { countFrames } from '../duel.mjs';
import { interfaceCounter } from '../interface-counters.mjs';
import { ours } from '../programs.mjs';

/**
 * UDP as super-frames against UDP as ordinary frames, by the bytes that reach the tap.
 *
 * @returns {import('../compare.mjs').Work}
 */
export function uso() {
  return {
    name: 'UDP with USO',
    unit: 'Gbit/s',
    entries: [
      { name: 'ring', ours: true, command: (tap) => ours('uso', tap, 'super') },
      { name: 'own 1,514-byte frames', command: (tap) => ours('uso', tap, 'plain'), goal: 3 },
    ],
    measure: (contender, seconds) =>
      countFrames(contender, seconds, () => interfaceCounter(contender.tap, 'rx_bytes'), 8e-9),
  };
}
