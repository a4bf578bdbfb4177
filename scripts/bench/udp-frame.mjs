import { checksum } from './icmp-echo.mjs';

/** UDP payload of an ordinary frame of 1,514 bytes. */
export const SEGMENT = 1472;
/** Ethernet, IPv4 and UDP header. */
export const HEADERS = 14 + 20 + 8;
/** Where the UDP header begins, and in it the checksum. */
export const UDP_START = 34;
export const UDP_CHECKSUM = 6;

/**
 * A frame of UDP as testpmd sends them (txonly.c), so that the kernel has the same to do for every contender: to a station
 * that is none, from and to the addresses and the port that RFC 2544 and RFC 863 have for it.
 *
 * @param {number} size in bytes, headers included
 * @returns {Buffer}
 */
export function udpFrame(size) {
  const frame = Buffer.alloc(size);
  frame.set([2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 8, 0]);
  const ip = [0x45, 0, ...word(size - 14), 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2];
  ip.splice(10, 2, ...checksum(ip));
  frame.set(ip, 14);
  frame.set([0, 9, 0, 9, ...word(size - UDP_START)], UDP_START);
  return frame;
}

/** @param {number} value */
function word(value) {
  return [value >>> 8, value & 0xff];
}
