import type { NetHeader, Nic } from '../../lib/index.js';
import { DEADLINE } from './until.js';

/** A frame that came in, copied, with what its header left to this side and how many buffers it lay in. */
export interface Arrival {
  readonly frame: Uint8Array;
  readonly header: Required<NetHeader>;
}

/** Receives in the friendly tier until `enough` says so; rejects where frames stop coming before. */
export async function arrivals(nic: Nic, enough: (soFar: readonly Arrival[]) => boolean): Promise<Arrival[]> {
  const found: Arrival[] = [];
  const signal = AbortSignal.timeout(DEADLINE);
  for await (const batch of nic.receive({ signal })) {
    for (let i = 0; i < batch.length; i++)
      found.push({ frame: Uint8Array.from(batch.frame(i)), header: batch.header(i) });
    if (enough(found)) break;
  }
  return found;
}
