import { ETH_HLEN } from '../abi/if-ether.js';
import {
  VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET,
  VIRTIO_NET_HDR_CSUM_START_OFFSET,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_FLAGS_OFFSET,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_SIZE_OFFSET,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_TYPE_OFFSET,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HDR_HDR_LEN_OFFSET,
  VIRTIO_NET_HDR_NUM_BUFFERS_OFFSET,
  VIRTIO_NET_HDR_V1_SIZE,
} from '../abi/virtio-net.js';
import { checkBoolean, checkInteger, checkOptions, wrongValue } from '../errors/check.js';
import { VhostRangeError } from '../errors/errors.js';

/** Bytes of the virtio-net header before each frame (`struct virtio_net_hdr_v1`). */
export const HEADER_SIZE = VIRTIO_NET_HDR_V1_SIZE;

/**
 * Segment offload of a frame; 'none' for an ordinary one. What a kernel does not know, 'udp-l4' before Linux 6.2, it takes
 * and drops.
 */
export type GsoType = 'none' | 'tcpv4' | 'tcpv6' | 'udp' | 'udp-l4';

const gsoTypes: Readonly<Record<GsoType, number>> = {
  none: VIRTIO_NET_HDR_GSO_NONE,
  tcpv4: VIRTIO_NET_HDR_GSO_TCPV4,
  tcpv6: VIRTIO_NET_HDR_GSO_TCPV6,
  udp: VIRTIO_NET_HDR_GSO_UDP,
  'udp-l4': VIRTIO_NET_HDR_GSO_UDP_L4,
};
const gsoNames = new Map(Object.entries(gsoTypes).map(([name, type]) => [type, name as GsoType]));

/** What a frame leaves to the other side (VIRTIO 1.3 §5.1.6 Device Operation). Offsets count from the frame's start. */
export interface NetHeader {
  /** The checksum at `csumStart + csumOffset` is still to be completed over all from `csumStart` (NEEDS_CSUM). */
  readonly needsChecksum?: boolean;
  readonly csumStart?: number;
  readonly csumOffset?: number;
  readonly gsoType?: GsoType;
  /** The first segment bears CWR (GSO_ECN). */
  readonly ecn?: boolean;
  /** Payload bytes of each segment. */
  readonly gsoSize?: number;
  /** Bytes of Ethernet, IP and transport header; a hint. */
  readonly headerLength?: number;
}

const headerOptions = [
  'needsChecksum',
  'csumStart',
  'csumOffset',
  'gsoType',
  'ecn',
  'gsoSize',
  'headerLength',
] as const;

/** Writes the header of an ordinary frame: all zero. */
export function clearHeader(bytes: Uint8Array, offset: number): void {
  // `fill` would cost more than the stores.
  for (let i = offset; i < offset + HEADER_SIZE; i++) bytes[i] = 0;
}

/** Writes a header. */
export function writeHeader(bytes: Uint8Array, offset: number, header: NetHeader): void {
  checkOptions('header', header, headerOptions);
  const { gsoType = 'none', needsChecksum = false, ecn = false } = header;
  checkBoolean('header.needsChecksum', needsChecksum);
  checkBoolean('header.ecn', ecn);
  if (!Object.hasOwn(gsoTypes, gsoType))
    throw wrongValue('header.gsoType', `one of ${Object.keys(gsoTypes).join(', ')}`, gsoType);
  clearHeader(bytes, offset);
  bytes[offset + VIRTIO_NET_HDR_FLAGS_OFFSET] = needsChecksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0;
  bytes[offset + VIRTIO_NET_HDR_GSO_TYPE_OFFSET] = gsoTypes[gsoType] | (ecn ? VIRTIO_NET_HDR_GSO_ECN : 0);
  writeU16(bytes, offset + VIRTIO_NET_HDR_HDR_LEN_OFFSET, 'header.headerLength', header.headerLength);
  writeU16(bytes, offset + VIRTIO_NET_HDR_GSO_SIZE_OFFSET, 'header.gsoSize', header.gsoSize);
  writeU16(bytes, offset + VIRTIO_NET_HDR_CSUM_START_OFFSET, 'header.csumStart', header.csumStart);
  writeU16(bytes, offset + VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET, 'header.csumOffset', header.csumOffset);
}

/** Reads the header of a received frame. */
export function readHeader(bytes: Uint8Array, offset: number): Required<NetHeader> {
  const gso = bytes[offset + VIRTIO_NET_HDR_GSO_TYPE_OFFSET]!;
  return {
    needsChecksum: (bytes[offset + VIRTIO_NET_HDR_FLAGS_OFFSET]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0,
    csumStart: readU16(bytes, offset + VIRTIO_NET_HDR_CSUM_START_OFFSET),
    csumOffset: readU16(bytes, offset + VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET),
    gsoType: gsoNames.get(gso & ~VIRTIO_NET_HDR_GSO_ECN) ?? 'none',
    ecn: (gso & VIRTIO_NET_HDR_GSO_ECN) !== 0,
    gsoSize: readU16(bytes, offset + VIRTIO_NET_HDR_GSO_SIZE_OFFSET),
    headerLength: readU16(bytes, offset + VIRTIO_NET_HDR_HDR_LEN_OFFSET),
  };
}

/** How many receive buffers a frame takes (VIRTIO_NET_F_MRG_RXBUF). */
export function readNumBuffers(bytes: Uint8Array, offset: number): number {
  return readU16(bytes, offset + VIRTIO_NET_HDR_NUM_BUFFERS_OFFSET);
}

/** Whether the header leaves anything to the other side: its checksum or its segments. */
export function isOffloaded(bytes: Uint8Array, offset: number): boolean {
  return (
    isSegmented(bytes, offset) ||
    (bytes[offset + VIRTIO_NET_HDR_FLAGS_OFFSET]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0
  );
}

/** Whether the header asks for segment offload, so that the frame may be longer than the MTU. */
export function isSegmented(bytes: Uint8Array, offset: number): boolean {
  return bytes[offset + VIRTIO_NET_HDR_GSO_TYPE_OFFSET] !== VIRTIO_NET_HDR_GSO_NONE;
}

/**
 * Refuses what the kernel's worker would stumble over for ever: it takes the same frame again and again where a frame
 * is shorter than its header, or where the checksum lies outside it (vhost_net_build_xdp()); other nonsense it drops
 * in silence. `length` counts the header and the frame, which may lie in several buffers: what is looked at is in the
 * first. ERR_VHOST_BAD_HEADER names the field and its rule.
 */
export function checkHeader(bytes: Uint8Array, offset: number, length: number): void {
  const frame = length - HEADER_SIZE;
  if (frame < ETH_HLEN)
    throw refuse(
      `a frame has at least ${ETH_HLEN} bytes after its ${HEADER_SIZE} bytes of header; this has ${frame}`,
    );
  const flags = bytes[offset + VIRTIO_NET_HDR_FLAGS_OFFSET]!;
  const gso = bytes[offset + VIRTIO_NET_HDR_GSO_TYPE_OFFSET]!;
  if ((flags | gso) === 0) return;
  if ((flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
    const start = readU16(bytes, offset + VIRTIO_NET_HDR_CSUM_START_OFFSET);
    const place = readU16(bytes, offset + VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET);
    if (start + place + 2 > frame)
      throw refuse(
        `header.csumStart + header.csumOffset + 2 must lie in the frame's ${frame} bytes; they are ${start} + ${place} + 2`,
      );
  }
  const headerLength = readU16(bytes, offset + VIRTIO_NET_HDR_HDR_LEN_OFFSET);
  if (headerLength > frame)
    throw refuse(`header.headerLength must be at most the frame's ${frame} bytes; it is ${headerLength}`);
  if (gso === VIRTIO_NET_HDR_GSO_NONE) return;
  if (!gsoNames.has(gso & ~VIRTIO_NET_HDR_GSO_ECN)) throw refuse(`0x${gso.toString(16)} is no gso_type`);
  if (readU16(bytes, offset + VIRTIO_NET_HDR_GSO_SIZE_OFFSET) === 0)
    throw refuse('header.gsoSize must be at least 1 where a frame has segment offload');
}

function refuse(message: string): VhostRangeError {
  return new VhostRangeError(message, 'ERR_VHOST_BAD_HEADER');
}

function readU16(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}

function writeU16(bytes: Uint8Array, offset: number, argument: string, value = 0): void {
  checkInteger(argument, value, 0, 0xffff);
  bytes[offset] = value & 0xff;
  bytes[offset + 1] = value >>> 8;
}
