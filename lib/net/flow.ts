import { ETH_ALEN, ETH_HLEN, ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6 } from '../abi/if-ether.js';

const TYPE = 2 * ETH_ALEN;
/** Bytes that a VLAN tag puts before the type (IEEE 802.1Q). */
const VLAN_TAG = 4;

// RFC 791, offsets in the packet.
const IPV4_FRAGMENT = 6;
const IPV4_PROTOCOL = 9;
const IPV4_ADDRESSES = 12;
const IPV4_ADDRESSES_SIZE = 8;
const IPV4_HEADER = 20;
/** More fragments follow, or this one is not the first: only the first has ports. */
const IPV4_FRAGMENT_MASK = 0x3fff;

// RFC 8200.
const IPV6_NEXT_HEADER = 6;
const IPV6_ADDRESSES = 8;
const IPV6_ADDRESSES_SIZE = 32;
const IPV6_HEADER = 40;

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** Source and destination, in TCP as in UDP. */
const PORTS_SIZE = 4;

// FNV-1a, 32 bits.
const FNV_BASIS = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/**
 * A number of 32 bits that the frames of one flow have in common, so that a flow keeps to one queue and its frames to
 * their order: from the addresses and, of TCP and UDP, the ports of an IP packet; from the Ethernet header of others.
 */
export function flowHash(frame: Uint8Array): number {
  let type = readU16(frame, TYPE);
  let packet = ETH_HLEN;
  if (type === ETH_P_8021Q || type === ETH_P_8021AD) {
    packet += VLAN_TAG;
    type = readU16(frame, packet - 2);
  }
  if (type === ETH_P_IP && frame.length >= packet + IPV4_HEADER) {
    const hash = mix(FNV_BASIS, frame, packet + IPV4_ADDRESSES, IPV4_ADDRESSES_SIZE);
    const whole = (readU16(frame, packet + IPV4_FRAGMENT) & IPV4_FRAGMENT_MASK) === 0;
    const payload = packet + (frame[packet]! & 15) * 4;
    return withPorts(hash, frame, payload, whole ? frame[packet + IPV4_PROTOCOL]! : -1);
  }
  if (type === ETH_P_IPV6 && frame.length >= packet + IPV6_HEADER) {
    const hash = mix(FNV_BASIS, frame, packet + IPV6_ADDRESSES, IPV6_ADDRESSES_SIZE);
    return withPorts(hash, frame, packet + IPV6_HEADER, frame[packet + IPV6_NEXT_HEADER]!);
  }
  return spread(mix(FNV_BASIS, frame, 0, Math.min(frame.length, ETH_HLEN)));
}

function withPorts(hash: number, frame: Uint8Array, at: number, protocol: number): number {
  const ported = (protocol === IPPROTO_TCP || protocol === IPPROTO_UDP) && frame.length >= at + PORTS_SIZE;
  return spread(ported ? mix(hash, frame, at, PORTS_SIZE) : hash);
}

function mix(basis: number, bytes: Uint8Array, start: number, length: number): number {
  let hash = basis;
  for (let i = start; i < start + length; i++) hash = Math.imul(hash ^ bytes[i]!, FNV_PRIME);
  return hash;
}

/** The low bits of FNV-1a know little of the bytes' high ones, and a few queues are chosen by the low bits. */
function spread(hash: number): number {
  const folded = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return (folded ^ (folded >>> 16)) >>> 0;
}

function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}
