/** The link-layer address of the station that a program on a tap plays. */
export const STATION_MAC = '02:00:00:00:00:09';

/**
 * An ICMP echo request to the host's end of a tap, which answers by itself.
 *
 * @param {string} mac of the tap
 * @param {string} ip of the tap
 * @param {string} stationIp where the answer goes
 * @returns {string} the frame in hexadecimal
 */
export function echoRequest(mac, ip, stationIp) {
  const icmp = [8, 0, 0, 0, 0, 1, 0, 1, ...new Array(18).fill(0x5a)];
  icmp.splice(2, 2, ...checksum(icmp));
  const header = [
    0x45,
    0,
    0,
    20 + icmp.length,
    0,
    0,
    0x40,
    0,
    64,
    1,
    0,
    0,
    ...octets(stationIp),
    ...octets(ip),
  ];
  header.splice(10, 2, ...checksum(header));
  return Buffer.from([...macBytes(mac), ...macBytes(STATION_MAC), 8, 0, ...header, ...icmp]).toString('hex');
}

/** The Internet checksum, as two bytes. @param {number[]} bytes an even number of them */
export function checksum(bytes) {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return [~(sum >>> 8) & 0xff, ~sum & 0xff];
}

/** @param {string} ip */
function octets(ip) {
  return ip.split('.').map(Number);
}

/** @param {string} mac */
function macBytes(mac) {
  return mac.split(':').map((byte) => Number.parseInt(byte, 16));
}

/**
 * Whether an Ethernet frame is an ICMP echo reply: the network stack sends others of its own accord.
 *
 * @param {Uint8Array} bytes
 * @param {number} at where the frame begins
 */
export function isEchoReply(bytes, at) {
  return bytes[at + 12] === 8 && bytes[at + 13] === 0 && bytes[at + 23] === 1 && bytes[at + 34] === 0;
}
