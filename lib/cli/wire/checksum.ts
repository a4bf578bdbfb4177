/** The Internet checksum of RFC 1071 over `bytes[start]` up to `bytes[end - 1]`; 0 where a right one is included. */
export function internetChecksum(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let at = start; at + 1 < end; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  // An odd last byte counts as if a zero followed.
  if ((end - start) % 2 === 1) sum += bytes[end - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
