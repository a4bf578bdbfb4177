import { ETH_ALEN, ETH_HLEN } from '../../abi/if-ether.js';
import { equals, readU16 } from './big-endian.js';

const TYPE = 2 * ETH_ALEN;
const GROUP_BIT = 1;

/** The type of a frame, -1 where it is too short to have one. */
export function etherType(frame: Uint8Array): number {
  return frame.length < ETH_HLEN ? -1 : readU16(frame, TYPE);
}

/** Whether a station of this address takes the frame: its own, a group's or everybody's. */
export function isFor(frame: Uint8Array, mac: Uint8Array): boolean {
  return (frame[0]! & GROUP_BIT) !== 0 || equals(frame, 0, mac);
}

/** Turns a frame round: to whoever sent it, from `mac`. */
export function turnRound(frame: Uint8Array, mac: Uint8Array): void {
  frame.copyWithin(0, ETH_ALEN, TYPE);
  frame.set(mac, ETH_ALEN);
}
