import { VhostError } from '../../../lib/errors/errors.js';
import type { Framing } from '../../../lib/socket/framing.js';

/** The plainest framing: one byte says how many follow; 255 is not allowed. */
export const byteFraming: Framing = {
  headerSize: 1,
  maxPayload: 200,
  maxDescriptors: 3,
  payloadSize(header) {
    if (header[0] === 255) throw new VhostError('ERR_VHOST_PROTOCOL', 'no message begins with 255');
    return header[0]!;
  },
};

/** A message of that framing. */
export function message(...payload: number[]): Uint8Array {
  return Uint8Array.of(payload.length, ...payload);
}
