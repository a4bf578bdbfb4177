import { crc32 } from 'node:zlib';

/** An EtherType that no stack answers (IEEE 802 Local Experimental 1). */
const ETHERTYPE = 0x88b5;
const SEQUENCE = 14;
const CHECKSUM = 18;
const PAYLOAD = 22;

/** The shortest frame that can bear its number and its checksum. */
export const MIN_TEST_FRAME = PAYLOAD;

/** "02:00:00:00:00:01" as bytes. */
export function macBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** Writes a broadcast frame that bears its number and a checksum over the rest, of `length` bytes at `offset`. */
export function writeTestFrame(
  bytes: Uint8Array,
  offset: number,
  length: number,
  source: Uint8Array,
  sequence: number,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, length);
  bytes.fill(0xff, offset, offset + 6);
  bytes.set(source, offset + 6);
  view.setUint16(12, ETHERTYPE);
  view.setUint32(SEQUENCE, sequence);
  // Every byte depends on the number, so that no frame can pass for another.
  for (let i = PAYLOAD; i < length; i++) bytes[offset + i] = (sequence * 31 + i * 7) & 0xff;
  view.setUint32(CHECKSUM, checksum(bytes, offset, length));
}

/** The number of a test frame; -1 for a frame that is none, and an error where it was altered on its way. */
export function readTestFrame(bytes: Uint8Array, offset: number, length: number): number {
  if (length < PAYLOAD) return -1;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, length);
  if (view.getUint16(12) !== ETHERTYPE) return -1;
  const sequence = view.getUint32(SEQUENCE);
  if (view.getUint32(CHECKSUM) !== checksum(bytes, offset, length))
    throw new Error(`test frame ${sequence} of ${length} bytes was altered on its way`);
  return sequence;
}

function checksum(bytes: Uint8Array, offset: number, length: number): number {
  return crc32(bytes.subarray(offset + PAYLOAD, offset + length), length);
}
