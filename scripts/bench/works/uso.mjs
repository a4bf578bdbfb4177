import { countFrames } from '../duel.mjs';
import { ours } from '../programs.mjs';
import { HEADERS, SEGMENT } from '../udp-frame.mjs';

/** What an IP packet of 64 KiB holds. */
const SEGMENTS = 44;

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
      { name: 'ring', ours: true, command: (tap) => ours('uso', tap, SEGMENTS) },
      { name: 'friendly', ours: true, command: (tap) => ours('uso-batches', tap, SEGMENTS) },
      { name: 'own 1,514-byte frames', command: (tap) => ours('uso', tap, 1), goal: 3 },
    ],
    // What they cost is told by a million of ordinary frames, for both.
    measure: (contender, seconds) =>
      countFrames(contender, seconds, 'rx_bytes', { scale: 8e-9, frame: HEADERS + SEGMENT }),
  };
}
