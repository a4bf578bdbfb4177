/** UDP payload of an ordinary frame of 1,514 bytes. */
export const SEGMENT = 1472;
/** Ethernet, IPv4 and UDP header. */
export const HEADERS = 14 + 20 + 8;
/** Where the UDP header begins, and in it the checksum. */
export const UDP_START = 34;
export const UDP_CHECKSUM = 6;

/** @param {number} segments that the frame is cut into, or 1 @returns {Buffer} an Ethernet frame of UDP */
export function udpFrame(segments) {
  const payload = SEGMENT * segments;
  const frame = Buffer.alloc(HEADERS + payload);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 3, 8, 0]);
  frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 97, 0, 2, 10, 97, 0, 1], 14);
  frame.writeUInt16BE(28 + payload, 16);
  frame.set([0x10, 0, 0x20, 0], UDP_START);
  frame.writeUInt16BE(8 + payload, UDP_START + 4);
  return frame;
}
