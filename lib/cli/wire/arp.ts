import { ETH_ALEN, ETH_HLEN, ETH_P_IP } from '../../abi/if-ether.js';
import { equals, readU16, writeU16 } from './big-endian.js';

// RFC 826, with Ethernet and IPv4 addresses; offsets in a frame.
const HARDWARE_TYPE = ETH_HLEN;
const PROTOCOL_TYPE = ETH_HLEN + 2;
const LENGTHS = ETH_HLEN + 4;
const OPERATION = ETH_HLEN + 6;
const SENDER = ETH_HLEN + 8;
const TARGET = ETH_HLEN + 18;
const END = ETH_HLEN + 28;

const ETHERNET = 1;
const IPV4_SIZE = 4;
const REQUEST = 1;
const REPLY = 2;

/** Whether an ARP frame asks who has the IPv4 address `ip`. */
export function asksFor(frame: Uint8Array, ip: Uint8Array): boolean {
  return (
    frame.length >= END &&
    readU16(frame, HARDWARE_TYPE) === ETHERNET &&
    readU16(frame, PROTOCOL_TYPE) === ETH_P_IP &&
    readU16(frame, LENGTHS) === ((ETH_ALEN << 8) | IPV4_SIZE) &&
    readU16(frame, OPERATION) === REQUEST &&
    equals(frame, TARGET + ETH_ALEN, ip)
  );
}

/** Makes an ARP request the reply to it: `mac` has the address that was asked for. */
export function makeArpReply(frame: Uint8Array, mac: Uint8Array, ip: Uint8Array): void {
  writeU16(frame, OPERATION, REPLY);
  frame.copyWithin(TARGET, SENDER, TARGET);
  frame.set(mac, SENDER);
  frame.set(ip, SENDER + ETH_ALEN);
}
