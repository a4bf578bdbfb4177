import fc from 'fast-check';
import {
  encodeRequest,
  type RequestName,
  type RequestPayload,
  requestNames,
} from '../../../lib/vhost/user/protocol.js';

const u32 = fc.oneof(
  fc.nat(3),
  fc.constantFrom(8, 256, 0xffff, 0xffff_ffff),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);
const u64 = fc.oneof(
  fc.constantFrom(0n, 1n, 0x1000n, 0x10_0000n, 1n << 30n, 1n << 32n, 1n << 63n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const u16 = fc.nat(0xffff);
const plain = { noNullPrototype: true };
const state = fc.record({ index: u32, num: u32 }, plain);
const file = fc.record({ index: fc.nat(255), hasFd: fc.boolean() }, plain);
const region = fc.record({ guestPhysicalAddress: u64, size: u64, userAddress: u64, offset: u64 }, plain);
const inflight = fc.record({ size: u64, offset: u64, queues: u16, queueSize: u16 }, plain);
const none = fc.constant(undefined);

const payloads: { [N in RequestName]: fc.Arbitrary<RequestPayload<N>> } = {
  GET_FEATURES: none,
  SET_FEATURES: u64,
  SET_OWNER: none,
  RESET_OWNER: none,
  SET_MEM_TABLE: fc.array(region, { maxLength: 8 }),
  SET_LOG_BASE: fc.record({ size: u64, offset: u64 }, plain),
  SET_LOG_FD: none,
  SET_VRING_NUM: state,
  SET_VRING_ADDR: fc.record(
    {
      index: u32,
      flags: u32,
      descriptorTable: u64,
      usedRing: u64,
      availableRing: u64,
      log: u64,
    },
    plain,
  ),
  SET_VRING_BASE: state,
  GET_VRING_BASE: state,
  SET_VRING_KICK: file,
  SET_VRING_CALL: file,
  SET_VRING_ERR: file,
  GET_PROTOCOL_FEATURES: none,
  SET_PROTOCOL_FEATURES: u64,
  GET_QUEUE_NUM: none,
  SET_VRING_ENABLE: state,
  NET_SET_MTU: u64,
  GET_INFLIGHT_FD: inflight,
  SET_INFLIGHT_FD: inflight,
  GET_MAX_MEM_SLOTS: none,
  ADD_MEM_REG: region,
  REM_MEM_REG: region,
  SET_STATUS: u64,
  GET_STATUS: none,
};

/** Any request, of any name. */
export const anyRequest = fc
  .constantFrom(...requestNames)
  .chain((name) => (payloads[name] as fc.Arbitrary<unknown>).map((payload) => ({ name, payload })));

/** Any answer to a request. */
export const anyReply = fc.oneof(
  fc.record({ name: fc.constantFrom('GET_FEATURES' as const, 'GET_QUEUE_NUM', 'GET_STATUS'), payload: u64 }),
  fc.record({ name: fc.constant('GET_VRING_BASE' as const), payload: state }),
  fc.record({ name: fc.constant('GET_INFLIGHT_FD' as const), payload: inflight }),
);

const encoded = fc
  .tuple(anyRequest, fc.boolean())
  .map(([{ name, payload }, needReply]) =>
    encodeRequest(name, payload as RequestPayload<RequestName>, needReply),
  );

/** A message, some bytes of it changed, cut off or added; or bytes of any kind. */
export const hostileBytes = fc.oneof(
  encoded,
  fc.tuple(encoded, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
    bytes[at % bytes.length] = value;
    return bytes;
  }),
  fc.tuple(encoded, fc.nat()).map(([bytes, length]) => bytes.subarray(0, length % bytes.length)),
  fc
    .tuple(encoded, fc.uint8Array({ minLength: 1, maxLength: 40 }))
    .map(([bytes, more]) => Uint8Array.of(...bytes, ...more)),
  fc.uint8Array({ maxLength: 400 }),
);
