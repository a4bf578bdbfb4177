import type { NetHeader } from '../../lib/index.js';
import { ADDRESS, type End } from './numbered-frames.js';

const ETHERNET_HEADER = 14;
const IP_HEADER = 20;
const TCP_HEADER = 20;
/** Bytes of Ethernet, IPv4 and TCP header of the frames made here, which have no options. */
export const HEADERS = ETHERNET_HEADER + IP_HEADER + TCP_HEADER;
const CHECKSUM = 16;
const IP = ETHERNET_HEADER;
const TCP = ETHERNET_HEADER + IP_HEADER;

/** Where the payload of a segment stands in its stream. */
const FIRST_BYTE = 1;

/** One large TCP/IPv4 segment for the kernel to cut: its checksum is that of the pseudo-header alone. */
export function tcpSegment(length: number, from: End, to: End): Uint8Array {
  const frame = new Uint8Array(length);
  const view = new DataView(frame.buffer);
  frame.set(ADDRESS[to], 0);
  frame.set(ADDRESS[from], 6);
  view.setUint16(12, 0x0800);
  view.setUint8(IP, 0x45);
  // 65,535 is all that the field can say; a longer frame is the network stack's to cut.
  view.setUint16(IP + 2, Math.min(length - ETHERNET_HEADER, 0xffff));
  view.setUint8(IP + 8, 64);
  view.setUint8(IP + 9, 6);
  frame.set([192, 0, 2, 1], IP + 12);
  frame.set([192, 0, 2, 2], IP + 16);
  view.setUint16(IP + 10, ~sum(frame, IP, TCP) & 0xffff);
  view.setUint16(TCP, 1024);
  view.setUint16(TCP + 2, 1025);
  view.setUint32(TCP + 4, FIRST_BYTE);
  view.setUint8(TCP + 12, 0x50);
  view.setUint8(TCP + 13, 0x10);
  view.setUint16(TCP + 14, 0xffff);
  view.setUint16(TCP + CHECKSUM, pseudoHeader(frame, length - TCP));
  for (let i = HEADERS, state = length; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    frame[i] = state >>> 16;
  }
  return frame;
}

/** What is told of such a frame beside its bytes. */
export function tcpHeader(payload: number): NetHeader {
  return {
    needsChecksum: true,
    csumStart: TCP,
    csumOffset: CHECKSUM,
    gsoType: 'tcpv4',
    gsoSize: payload,
    headerLength: HEADERS,
  };
}

/** The payload of segments put together again by their sequence numbers; `undefined` where some of it is missing. */
export function reassemble(segments: readonly Uint8Array[], length: number): Uint8Array | undefined {
  const payload = new Uint8Array(length);
  let bytes = 0;
  for (const frame of segments) {
    const place = new DataView(frame.buffer, frame.byteOffset).getUint32(TCP + 4) - FIRST_BYTE;
    if (place + frame.length - HEADERS > length) return undefined;
    payload.set(frame.subarray(HEADERS), place);
    bytes += frame.length - HEADERS;
  }
  return bytes === length ? payload : undefined;
}

/** Whether the checksum of a received segment is complete and right. */
export function checksumHolds(frame: Uint8Array): boolean {
  const length = frame.length - TCP;
  return fold(pseudoHeader(frame, length) + sum(frame, TCP, frame.length)) === 0xffff;
}

function pseudoHeader(frame: Uint8Array, length: number): number {
  return fold(sum(frame, IP + 12, IP + 20) + 6 + fold(length));
}

function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  for (let i = from; i < to; i += 2) total += (bytes[i]! << 8) | (i + 1 < to ? bytes[i + 1]! : 0);
  return fold(total);
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}
