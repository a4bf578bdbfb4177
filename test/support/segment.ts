import type { NetHeader } from '../../lib/index.js';
import { ADDRESS, type End } from './numbered-frames.js';

type GsoType = NonNullable<NetHeader['gsoType']>;

const ETHERNET_HEADER = 14;
const IP = ETHERNET_HEADER;
/** Where the payload of a TCP segment stands in its stream. */
const FIRST_BYTE = 1;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET = 0x1fff;

const networks = {
  4: { etherType: 0x0800, header: 20, addresses: 12, address: [192, 0, 2] },
  6: { etherType: 0x86dd, header: 40, addresses: 8, address: [0x20, 0x01, 0x0d, 0xb8, ...Array(11).fill(0)] },
} as const;
const transports = {
  tcp: { protocol: 6, header: 20, checksum: 16, gso: { 4: 'tcpv4', 6: 'tcpv6' } },
  udp: { protocol: 17, header: 8, checksum: 6, gso: { 4: 'udp-l4', 6: 'udp-l4' } },
} as const;

/** Large segments of one protocol over another, for the kernel to cut. No options, no extension headers. */
export class SegmentKind {
  /** Bytes of Ethernet, IP and transport header. */
  readonly headers: number;
  /** What has them cut so that each piece is a segment or datagram of its own. */
  readonly gsoType: GsoType;
  readonly #ip: 4 | 6;
  readonly #network: (typeof networks)[4 | 6];
  readonly #transport: (typeof transports)['tcp' | 'udp'];
  /** Where the transport header begins. */
  readonly #start: number;

  constructor(ip: 4 | 6, transport: 'tcp' | 'udp') {
    this.#ip = ip;
    this.#network = networks[ip];
    this.#transport = transports[transport];
    this.#start = IP + this.#network.header;
    this.headers = this.#start + this.#transport.header;
    this.gsoType = this.#transport.gso[ip];
  }

  /** A frame of `length` bytes whose checksum is that of the pseudo-header alone. */
  segment(length: number, from: End, to: End): Uint8Array {
    const frame = new Uint8Array(length);
    const view = new DataView(frame.buffer);
    const start = this.#start;
    frame.set(ADDRESS[to], 0);
    frame.set(ADDRESS[from], 6);
    view.setUint16(12, this.#network.etherType);
    this.#writeNetwork(frame, view, length);
    view.setUint16(start, 1024);
    view.setUint16(start + 2, 1025);
    if (this.#transport.protocol === transports.tcp.protocol) {
      view.setUint32(start + 4, FIRST_BYTE);
      view.setUint8(start + 12, 0x50);
      view.setUint8(start + 13, 0x10);
      view.setUint16(start + 14, 0xffff);
    } else view.setUint16(start + 4, Math.min(length - start, 0xffff));
    view.setUint16(start + this.#transport.checksum, this.#pseudoHeader(frame, length - start));
    for (let i = this.headers, state = length; i < length; i++) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      frame[i] = state >>> 16;
    }
    return frame;
  }

  /** What is told of such a frame beside its bytes: how much each piece carries. */
  header(size: number, gsoType: GsoType = this.gsoType): NetHeader {
    return {
      needsChecksum: true,
      csumStart: this.#start,
      csumOffset: this.#transport.checksum,
      gsoType,
      gsoSize: size,
      headerLength: this.headers,
    };
  }

  /**
   * The payload of segments put together again: of TCP by their sequence numbers, of UDP as they came. `undefined` where
   * some of it is missing.
   */
  reassemble(segments: readonly Uint8Array[], length: number): Uint8Array | undefined {
    const payload = new Uint8Array(length);
    let bytes = 0;
    for (const frame of segments) {
      const place =
        this.#transport.protocol === transports.tcp.protocol
          ? viewOf(frame).getUint32(this.#start + 4) - FIRST_BYTE
          : bytes;
      if (place + frame.length - this.headers > length) return undefined;
      payload.set(frame.subarray(this.headers), place);
      bytes += frame.length - this.headers;
    }
    return bytes === length ? payload : undefined;
  }

  /** Whether the checksum of a received segment is complete and right. */
  checksumHolds(frame: Uint8Array): boolean {
    const length = frame.length - this.#start;
    return fold(this.#pseudoHeader(frame, length) + sum(frame, this.#start, frame.length)) === 0xffff;
  }

  #writeNetwork(frame: Uint8Array, view: DataView, length: number): void {
    const { addresses, address } = this.#network;
    if (this.#ip === 4) {
      view.setUint8(IP, 0x45);
      // 65,535 is all that the field can say; a longer frame is the network stack's to cut.
      view.setUint16(IP + 2, Math.min(length - ETHERNET_HEADER, 0xffff));
      view.setUint8(IP + 8, 64);
      view.setUint8(IP + 9, this.#transport.protocol);
    } else {
      view.setUint8(IP, 0x60);
      view.setUint16(IP + 4, Math.min(length - this.#start, 0xffff));
      view.setUint8(IP + 6, this.#transport.protocol);
      view.setUint8(IP + 7, 64);
    }
    const size = address.length + 1;
    for (const host of [1, 2]) frame.set([...address, host], IP + addresses + (host - 1) * size);
    if (this.#ip === 4) view.setUint16(IP + 10, ~sum(frame, IP, this.#start) & 0xffff);
  }

  #pseudoHeader(frame: Uint8Array, length: number): number {
    return fold(
      sum(frame, IP + this.#network.addresses, this.#start) + this.#transport.protocol + fold(length),
    );
  }
}

/** TCP over IPv4. */
export const TCP = new SegmentKind(4, 'tcp');

/** The datagram that IPv4 fragments make, with the header of the first; `undefined` where some of it is missing. */
export function defragment(fragments: readonly Uint8Array[]): Uint8Array | undefined {
  const start = IP + networks[4].header;
  const end = fragments.find((frame) => (viewOf(frame).getUint16(IP + 6) & MORE_FRAGMENTS) === 0);
  if (end === undefined) return undefined;
  const place = (frame: Uint8Array): number => (viewOf(frame).getUint16(IP + 6) & FRAGMENT_OFFSET) * 8;
  const length = place(end) + end.length - start;
  const whole = new Uint8Array(start + length);
  let bytes = 0;
  for (const frame of fragments) {
    if (place(frame) === 0) whole.set(frame.subarray(0, start));
    whole.set(frame.subarray(start), start + place(frame));
    bytes += frame.length - start;
  }
  return bytes === length ? whole : undefined;
}

function viewOf(frame: Uint8Array): DataView {
  return new DataView(frame.buffer, frame.byteOffset, frame.length);
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
