import { VhostError } from '../../errors/errors.js';
import type { Framing } from '../../socket/framing.js';

/**
 * The messages of vhost-user as bytes and back (QEMU, docs/interop/vhost-user.rst, "Message Specification"): a header of
 * u32 request, u32 flags, u32 size, then the payload, in the byte order of the machine, which is little-endian here.
 * Nothing of a message is believed before it is checked.
 */

/** Feature bit: the back-end knows protocol features. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 30;

/** Protocol feature bits. */
export const protocolFeatures = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  NET_MTU: 4,
  BACKEND_REQ: 5,
  CROSS_ENDIAN: 6,
  CRYPTO_SESSION: 7,
  PAGEFAULT: 8,
  CONFIG: 9,
  BACKEND_SEND_FD: 10,
  HOST_NOTIFIER: 11,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  INBAND_NOTIFICATIONS: 14,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
} as const;
export type ProtocolFeature = keyof typeof protocolFeatures;

/** Protocol features as the u64 that goes over the wire. */
export function protocolFeatureBits(...names: readonly ProtocolFeature[]): bigint {
  return names.reduce((bits, name) => bits | (1n << BigInt(protocolFeatures[name])), 0n);
}

/** Regions that a memory table of one message has at most. */
export const MAX_TABLE_REGIONS = 8;

const HEADER_SIZE = 12;
const VERSION = 1;
const VERSION_MASK = 3;
const FLAG_REPLY = 1 << 2;
const FLAG_NEED_REPLY = 1 << 3;
/** More than any payload known takes; one that is longer was not made by a vhost-user peer. */
const MAX_PAYLOAD = 4096;
/** Bits of the u64 that comes with a kick, call or error descriptor. */
const VRING_INDEX_MASK = 0xffn;
const VRING_NO_FD = 0x100n;

/** struct vhost_vring_state. */
export interface VringState {
  readonly index: number;
  readonly num: number;
}

/** struct vhost_vring_addr; user addresses of the front-end. */
export interface VringAddress {
  readonly index: number;
  readonly flags: number;
  readonly descriptorTable: bigint;
  readonly usedRing: bigint;
  readonly availableRing: bigint;
  readonly log: bigint;
}

/** Which vring a descriptor is for, and whether one comes with the message. */
export interface VringFile {
  readonly index: number;
  readonly hasFd: boolean;
}

/** A region of the front-end's memory. */
export interface MemoryRegion {
  readonly guestPhysicalAddress: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** Where the front-end has it; the addresses of vrings are of this kind. */
  readonly userAddress: bigint;
  /** Where in the descriptor it begins. */
  readonly offset: bigint;
}

/** Where in a descriptor the dirty log is. */
export interface LogArea {
  /** Bytes. */
  readonly size: bigint;
  readonly offset: bigint;
}

/** Where in a descriptor the heads in flight are tracked. */
export interface InflightArea {
  /** Bytes. */
  readonly size: bigint;
  readonly offset: bigint;
  readonly queues: number;
  readonly queueSize: number;
}

/** How a payload is read and written. */
interface Payload<T> {
  /** Bytes that it takes; `undefined` for one of as many as it needs. */
  readonly size: number | undefined;
  read(view: DataView): T;
  write(value: T): ArrayBuffer;
}

/** A payload of fields that follow each other. */
function fields<T>(
  size: number,
  read: (view: DataView) => T,
  write: (view: DataView, value: T) => void,
): Payload<T> {
  return {
    size,
    read,
    write(value) {
      const buffer = new ArrayBuffer(size);
      write(new DataView(buffer), value);
      return buffer;
    },
  };
}

const none = fields<undefined>(
  0,
  () => undefined,
  () => {},
);

const u64 = fields<bigint>(
  8,
  (view) => view.getBigUint64(0, true),
  (view, value) => view.setBigUint64(0, value, true),
);

const vringState = fields<VringState>(
  8,
  (view) => ({ index: view.getUint32(0, true), num: view.getUint32(4, true) }),
  (view, { index, num }) => {
    view.setUint32(0, index, true);
    view.setUint32(4, num, true);
  },
);

const vringAddress = fields<VringAddress>(
  40,
  (view) => ({
    index: view.getUint32(0, true),
    flags: view.getUint32(4, true),
    descriptorTable: view.getBigUint64(8, true),
    usedRing: view.getBigUint64(16, true),
    availableRing: view.getBigUint64(24, true),
    log: view.getBigUint64(32, true),
  }),
  (view, value) => {
    view.setUint32(0, value.index, true);
    view.setUint32(4, value.flags, true);
    view.setBigUint64(8, value.descriptorTable, true);
    view.setBigUint64(16, value.usedRing, true);
    view.setBigUint64(24, value.availableRing, true);
    view.setBigUint64(32, value.log, true);
  },
);

const vringFile = fields<VringFile>(
  8,
  (view) => {
    const bits = view.getBigUint64(0, true);
    return { index: Number(bits & VRING_INDEX_MASK), hasFd: (bits & VRING_NO_FD) === 0n };
  },
  (view, { index, hasFd }) => view.setBigUint64(0, BigInt(index) | (hasFd ? 0n : VRING_NO_FD), true),
);

const REGION_SIZE = 32;

function readRegion(view: DataView, at: number): MemoryRegion {
  return {
    guestPhysicalAddress: view.getBigUint64(at, true),
    size: view.getBigUint64(at + 8, true),
    userAddress: view.getBigUint64(at + 16, true),
    offset: view.getBigUint64(at + 24, true),
  };
}

function writeRegion(view: DataView, at: number, region: MemoryRegion): void {
  view.setBigUint64(at, region.guestPhysicalAddress, true);
  view.setBigUint64(at + 8, region.size, true);
  view.setBigUint64(at + 16, region.userAddress, true);
  view.setBigUint64(at + 24, region.offset, true);
}

const memoryTable: Payload<readonly MemoryRegion[]> = {
  size: undefined,
  read(view) {
    if (view.byteLength < 8) throw malformed(`a memory table of ${view.byteLength} bytes`);
    const count = view.getUint32(0, true);
    if (count > MAX_TABLE_REGIONS) throw malformed(`a memory table of ${count} regions`);
    // Some front-ends send the array whole, however many regions they have.
    if (view.byteLength < 8 + count * REGION_SIZE)
      throw malformed(`${count} regions in a memory table of ${view.byteLength} bytes`);
    return Array.from({ length: count }, (_, i) => readRegion(view, 8 + i * REGION_SIZE));
  },
  write(regions) {
    const buffer = new ArrayBuffer(8 + regions.length * REGION_SIZE);
    const view = new DataView(buffer);
    view.setUint32(0, regions.length, true);
    for (const [i, region] of regions.entries()) writeRegion(view, 8 + i * REGION_SIZE, region);
    return buffer;
  },
};

/** One region, after eight bytes of padding. */
const memoryRegion = fields<MemoryRegion>(
  8 + REGION_SIZE,
  (view) => readRegion(view, 8),
  (view, region) => writeRegion(view, 8, region),
);

const log = fields<LogArea>(
  16,
  (view) => ({ size: view.getBigUint64(0, true), offset: view.getBigUint64(8, true) }),
  (view, { size, offset }) => {
    view.setBigUint64(0, size, true);
    view.setBigUint64(8, offset, true);
  },
);

const inflight: Payload<InflightArea> = {
  size: undefined,
  read(view) {
    // As a C structure it has four bytes of padding, which not every peer sends.
    if (view.byteLength !== 20 && view.byteLength !== 24)
      throw malformed(`an inflight description of ${view.byteLength} bytes`);
    return {
      size: view.getBigUint64(0, true),
      offset: view.getBigUint64(8, true),
      queues: view.getUint16(16, true),
      queueSize: view.getUint16(18, true),
    };
  },
  write({ size, offset, queues, queueSize }) {
    const view = new DataView(new ArrayBuffer(24));
    view.setBigUint64(0, size, true);
    view.setBigUint64(8, offset, true);
    view.setUint16(16, queues, true);
    view.setUint16(18, queueSize, true);
    return view.buffer;
  },
};

/** One row of the table of requests: its number, what it carries, what it is answered with. */
interface Row<S, R> {
  readonly id: number;
  readonly sends: Payload<S>;
  /** `none` where a reply is an acknowledgement only, given where it is asked for (REPLY_ACK). */
  readonly answers: Payload<R>;
  /** Descriptors that come with it, at most. */
  readonly fds: number;
  /** Descriptors that come with its answer. */
  readonly answerFds: number;
}

function row<S, R>(id: number, sends: Payload<S>, answers: Payload<R>, fds = 0, answerFds = 0): Row<S, R> {
  return { id, sends, answers, fds, answerFds };
}

/** Every request of the front-end that is spoken here. */
const requests = {
  GET_FEATURES: row(1, none, u64),
  SET_FEATURES: row(2, u64, none),
  SET_OWNER: row(3, none, none),
  RESET_OWNER: row(4, none, none),
  SET_MEM_TABLE: row(5, memoryTable, none, MAX_TABLE_REGIONS),
  SET_LOG_BASE: row(6, log, u64, 1),
  SET_LOG_FD: row(7, none, none, 1),
  SET_VRING_NUM: row(8, vringState, none),
  SET_VRING_ADDR: row(9, vringAddress, none),
  SET_VRING_BASE: row(10, vringState, none),
  GET_VRING_BASE: row(11, vringState, vringState),
  SET_VRING_KICK: row(12, vringFile, none, 1),
  SET_VRING_CALL: row(13, vringFile, none, 1),
  SET_VRING_ERR: row(14, vringFile, none, 1),
  GET_PROTOCOL_FEATURES: row(15, none, u64),
  SET_PROTOCOL_FEATURES: row(16, u64, none),
  GET_QUEUE_NUM: row(17, none, u64),
  SET_VRING_ENABLE: row(18, vringState, none),
  NET_SET_MTU: row(20, u64, none),
  GET_INFLIGHT_FD: row(31, inflight, inflight, 0, 1),
  SET_INFLIGHT_FD: row(32, inflight, none, 1),
  GET_MAX_MEM_SLOTS: row(36, none, u64),
  ADD_MEM_REG: row(37, memoryRegion, none, 1),
  // Some front-ends pass a descriptor here; it is closed unused.
  REM_MEM_REG: row(38, memoryRegion, none, 1),
  SET_STATUS: row(39, u64, none),
  GET_STATUS: row(40, none, u64),
} as const;

type Requests = typeof requests;
export type RequestName = keyof Requests;
export type RequestPayload<N extends RequestName> = Requests[N]['sends'] extends Payload<infer S> ? S : never;
export type ReplyPayload<N extends RequestName> = Requests[N]['answers'] extends Payload<infer R> ? R : never;

export const requestNames = Object.keys(requests) as RequestName[];
const byId = new Map(requestNames.map((name) => [requests[name].id, name]));

/** A request as it was sent. */
export type Request = {
  [N in RequestName]: { readonly name: N; readonly payload: RequestPayload<N>; readonly needReply: boolean };
}[RequestName];

/** A request that is not spoken here. */
export interface UnknownRequest {
  readonly name: undefined;
  readonly id: number;
  readonly needReply: boolean;
}

/** Whether a request is always answered, with more than an acknowledgement. */
export function hasAnswer(name: RequestName): boolean {
  return requests[name].answers !== none;
}

/** How many descriptors come with the answer to a request. */
export function answerDescriptors(name: RequestName): number {
  return requests[name].answerFds;
}

/** The framing of requests. */
export const requestFraming: Framing = {
  headerSize: HEADER_SIZE,
  maxPayload: MAX_PAYLOAD,
  maxDescriptors: MAX_TABLE_REGIONS,
  payloadSize: (header) => viewOf(header).getUint32(8, true),
};

/** The framing of answers. */
export const replyFraming: Framing = { ...requestFraming, maxDescriptors: 1 };

/** A request to send; `needReply` asks for an acknowledgement. */
export function encodeRequest<N extends RequestName>(
  name: N,
  payload: RequestPayload<N>,
  needReply = false,
): Uint8Array {
  const { id, sends } = requests[name];
  return encode(id, needReply ? FLAG_NEED_REPLY : 0, (sends as Payload<RequestPayload<N>>).write(payload));
}

/** A request that came. ERR_VHOST_PROTOCOL: it is none, or not as that request must be. */
export function decodeRequest(bytes: Uint8Array, fds: number): Request | UnknownRequest {
  const { id, flags, body } = split(bytes);
  if ((flags & FLAG_REPLY) !== 0) throw malformed(`request ${id} bears the flag of a reply`);
  const needReply = (flags & FLAG_NEED_REPLY) !== 0;
  const name = byId.get(id);
  if (name === undefined) return { name, id, needReply };
  const { sends, fds: most } = requests[name];
  if (fds > most) throw malformed(`${name} with ${fds} descriptors; it takes ${most}`);
  return { name, payload: readPayload(name, sends as Payload<unknown>, body), needReply } as Request;
}

/** The answer to a request. */
export function encodeReply<N extends RequestName>(name: N, payload: ReplyPayload<N>): Uint8Array {
  const { id, answers } = requests[name];
  return encode(id, FLAG_REPLY, (answers as Payload<ReplyPayload<N>>).write(payload));
}

/** What an answer to a request said. ERR_VHOST_PROTOCOL: it is not an answer to that request. */
export function decodeReply<N extends RequestName>(name: N, bytes: Uint8Array): ReplyPayload<N> {
  const { id, flags, body } = split(bytes);
  if (id !== requests[name].id || (flags & FLAG_REPLY) === 0)
    throw malformed(`message ${id} in answer to ${name}`);
  return readPayload(name, requests[name].answers as Payload<ReplyPayload<N>>, body);
}

/** The acknowledgement of a request by its number: 0 where it was done. */
export function encodeAcknowledgement(id: number, done: boolean): Uint8Array {
  return encode(id, FLAG_REPLY, u64.write(done ? 0n : 1n));
}

/** The number of a request. */
export function requestId(name: RequestName): number {
  return requests[name].id;
}

/** Whether a request was done, by its acknowledgement. */
export function decodeAcknowledgement(name: RequestName, bytes: Uint8Array): boolean {
  const { id, flags, body } = split(bytes);
  if (id !== requests[name].id || (flags & FLAG_REPLY) === 0)
    throw malformed(`message ${id} in acknowledgement of ${name}`);
  return readPayload(name, u64, body) === 0n;
}

function encode(id: number, flags: number, payload: ArrayBuffer): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + payload.byteLength);
  const view = viewOf(bytes);
  view.setUint32(0, id, true);
  view.setUint32(4, VERSION | flags, true);
  view.setUint32(8, payload.byteLength, true);
  bytes.set(new Uint8Array(payload), HEADER_SIZE);
  return bytes;
}

function split(bytes: Uint8Array): { id: number; flags: number; body: DataView } {
  if (bytes.length < HEADER_SIZE) throw malformed(`a message of ${bytes.length} bytes`);
  const view = viewOf(bytes);
  const flags = view.getUint32(4, true);
  if ((flags & VERSION_MASK) !== VERSION) throw malformed(`a message of version ${flags & VERSION_MASK}`);
  if (view.getUint32(8, true) !== bytes.length - HEADER_SIZE)
    throw malformed(
      `a message of ${bytes.length} bytes that says it has ${view.getUint32(8, true)} of payload`,
    );
  return { id: view.getUint32(0, true), flags, body: viewOf(bytes.subarray(HEADER_SIZE)) };
}

function readPayload<T>(name: RequestName, payload: Payload<T>, body: DataView): T {
  if (payload.size !== undefined && body.byteLength !== payload.size)
    throw malformed(`${name} with ${body.byteLength} bytes of payload; it has ${payload.size}`);
  return payload.read(body);
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function malformed(what: string): VhostError {
  return new VhostError('ERR_VHOST_PROTOCOL', `vhost-user: ${what}`);
}
