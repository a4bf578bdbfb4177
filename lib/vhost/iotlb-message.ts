import {
  VHOST_ACCESS_RO,
  VHOST_ACCESS_RW,
  VHOST_ACCESS_WO,
  VHOST_IOTLB_ACCESS_FAIL,
  VHOST_IOTLB_BATCH_BEGIN,
  VHOST_IOTLB_BATCH_END,
  VHOST_IOTLB_INVALIDATE,
  VHOST_IOTLB_MISS,
  VHOST_IOTLB_MSG,
  VHOST_IOTLB_MSG_IOVA_OFFSET,
  VHOST_IOTLB_MSG_PERM_OFFSET,
  VHOST_IOTLB_MSG_SIZE_OFFSET,
  VHOST_IOTLB_MSG_TYPE_OFFSET,
  VHOST_IOTLB_MSG_UADDR_OFFSET,
  VHOST_IOTLB_MSG_V2,
  VHOST_IOTLB_UPDATE,
  VHOST_MSG_IOTLB_OFFSET,
  VHOST_MSG_SIZE,
  VHOST_MSG_TYPE_OFFSET,
} from '../abi/vhost.js';
import { checkU64, wrongType, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';

/** What a device may do at an address, or wanted to: read, write, or both. */
export type IotlbAccess = 'ro' | 'wo' | 'rw';

/** An address to which the device wants access and that it cannot translate: VHOST_IOTLB_MISS, VHOST_IOTLB_ACCESS_FAIL. */
export interface IotlbMiss {
  readonly type: 'miss' | 'access-fail';
  /** I/O virtual address. */
  readonly iova: bigint;
  readonly access: IotlbAccess;
}

/** VHOST_IOTLB_UPDATE: `size` bytes from `iova` are those at a user address. */
export interface IotlbUpdate {
  readonly type: 'update';
  readonly iova: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
  readonly access: IotlbAccess;
}

/** VHOST_IOTLB_INVALIDATE: every mapping that touches `size` bytes from `iova` is gone, all of it. */
export interface IotlbInvalidate {
  readonly type: 'invalidate';
  readonly iova: bigint;
  readonly size: bigint;
}

/** VHOST_IOTLB_BATCH_BEGIN, VHOST_IOTLB_BATCH_END: the messages between the two take effect together. */
export interface IotlbBatch {
  readonly type: 'batch-begin' | 'batch-end';
}

/** What a driver tells a device's IOTLB. */
export type IotlbRequest = IotlbUpdate | IotlbInvalidate | IotlbBatch;

const accesses: Readonly<Record<IotlbAccess, number>> = {
  ro: VHOST_ACCESS_RO,
  wo: VHOST_ACCESS_WO,
  rw: VHOST_ACCESS_RW,
};
const accessNames = new Map(Object.entries(accesses).map(([name, bits]) => [bits, name as IotlbAccess]));

const requests: Readonly<Record<IotlbRequest['type'], number>> = {
  update: VHOST_IOTLB_UPDATE,
  invalidate: VHOST_IOTLB_INVALIDATE,
  'batch-begin': VHOST_IOTLB_BATCH_BEGIN,
  'batch-end': VHOST_IOTLB_BATCH_END,
};
const misses = new Map<number, IotlbMiss['type']>([
  [VHOST_IOTLB_MISS, 'miss'],
  [VHOST_IOTLB_ACCESS_FAIL, 'access-fail'],
]);

/** Whether `allowed` allows all of `wanted`. */
export function allows(allowed: IotlbAccess, wanted: IotlbAccess): boolean {
  return (accesses[wanted] & ~accesses[allowed]) === 0;
}

/** A message to write to a device: struct vhost_msg, or struct vhost_msg_v2, which has the same places. */
export function encodeIotlbRequest(request: IotlbRequest, v2: boolean): Uint8Array {
  if (typeof request !== 'object' || request === null) throw wrongType('message', 'an object', request);
  if (!Object.hasOwn(requests, request.type))
    throw wrongValue('message.type', `one of ${Object.keys(requests).join(', ')}`, request.type);
  const bytes = new Uint8Array(VHOST_MSG_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(VHOST_MSG_TYPE_OFFSET, v2 ? VHOST_IOTLB_MSG_V2 : VHOST_IOTLB_MSG, true);
  view.setUint8(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_TYPE_OFFSET, requests[request.type]);
  if (request.type !== 'update' && request.type !== 'invalidate') return bytes;
  const iova = checkU64('message.iova', request.iova);
  const size = checkU64('message.size', request.size);
  // Of an invalidation of no bytes the kernel makes one of others: it takes the end for the byte before the start.
  if (size === 0n || iova + size > 1n << 64n)
    throw wrongValue('message.size', 'at least 1, such that the range ends below 2^64', size);
  view.setBigUint64(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_IOVA_OFFSET, iova, true);
  view.setBigUint64(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_SIZE_OFFSET, size, true);
  if (request.type !== 'update') return bytes;
  if (!Object.hasOwn(accesses, request.access))
    throw wrongValue('message.access', `one of ${Object.keys(accesses).join(', ')}`, request.access);
  const userAddress = checkU64('message.userAddress', request.userAddress);
  view.setBigUint64(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_UADDR_OFFSET, userAddress, true);
  view.setUint8(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_PERM_OFFSET, accesses[request.access]);
  return bytes;
}

/** A message read from a device; ERR_VHOST_BAD_MESSAGE where it is none that a device sends. */
export function decodeIotlbMiss(bytes: Uint8Array): IotlbMiss {
  if (bytes.length !== VHOST_MSG_SIZE)
    throw bad(`of ${bytes.length} bytes, where an IOTLB message has ${VHOST_MSG_SIZE}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const layout = view.getUint32(VHOST_MSG_TYPE_OFFSET, true);
  if (layout !== VHOST_IOTLB_MSG && layout !== VHOST_IOTLB_MSG_V2) throw bad(`of type ${layout}`);
  const kind = view.getUint8(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_TYPE_OFFSET);
  const type = misses.get(kind);
  if (type === undefined) throw bad(`of IOTLB type ${kind}`);
  const permission = view.getUint8(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_PERM_OFFSET);
  const access = accessNames.get(permission);
  if (access === undefined) throw bad(`with the permission ${permission}`);
  return {
    type,
    iova: view.getBigUint64(VHOST_MSG_IOTLB_OFFSET + VHOST_IOTLB_MSG_IOVA_OFFSET, true),
    access,
  };
}

function bad(what: string): VhostError {
  return new VhostError('ERR_VHOST_BAD_MESSAGE', `the device sent a message ${what}`);
}
