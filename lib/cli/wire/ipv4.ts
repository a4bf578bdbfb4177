import { ETH_HLEN } from '../../abi/if-ether.js';
import { equals, readU16 } from './big-endian.js';
import { internetChecksum } from './checksum.js';

// RFC 791, offsets in a frame.
const VERSION_AND_LENGTH = ETH_HLEN;
const TOTAL_LENGTH = ETH_HLEN + 2;
const FRAGMENT = ETH_HLEN + 6;
const PROTOCOL = ETH_HLEN + 9;
const SOURCE = ETH_HLEN + 12;
const DESTINATION = ETH_HLEN + 16;

const ADDRESS_SIZE = 4;
const LEAST_HEADER = 20;
/** More fragments follow, or this one is not the first. */
const FRAGMENT_MASK = 0x3fff;

/** Where in its frame the payload of an IPv4 packet lies, and of which protocol it is. */
export interface Ipv4Payload {
  readonly protocol: number;
  readonly start: number;
  readonly end: number;
}

/** The payload of a whole, sound IPv4 packet for `ip`; `undefined` for anything else. */
export function ipv4PayloadFor(frame: Uint8Array, ip: Uint8Array): Ipv4Payload | undefined {
  if (frame.length < ETH_HLEN + LEAST_HEADER || frame[VERSION_AND_LENGTH]! >> 4 !== 4) return undefined;
  const header = (frame[VERSION_AND_LENGTH]! & 15) * 4;
  const total = readU16(frame, TOTAL_LENGTH);
  // Short frames are padded, so that a packet may end before its frame does.
  if (header < LEAST_HEADER || total < header || ETH_HLEN + total > frame.length) return undefined;
  if ((readU16(frame, FRAGMENT) & FRAGMENT_MASK) !== 0 || !equals(frame, DESTINATION, ip)) return undefined;
  const start = ETH_HLEN + header;
  if (internetChecksum(frame, ETH_HLEN, start) !== 0) return undefined;
  return { protocol: frame[PROTOCOL]!, start, end: ETH_HLEN + total };
}

/** Exchanges source and destination, which leaves the header's checksum right. */
export function exchangeAddresses(frame: Uint8Array): void {
  const source = frame.slice(SOURCE, SOURCE + ADDRESS_SIZE);
  frame.copyWithin(SOURCE, DESTINATION, DESTINATION + ADDRESS_SIZE);
  frame.set(source, DESTINATION);
}

/** "192.0.2.1" as four bytes. */
export function parseIpv4(address: string): Uint8Array {
  return Uint8Array.from(address.split('.'), Number);
}
