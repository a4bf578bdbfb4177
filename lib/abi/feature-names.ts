import * as vhost from './vhost.js';
import * as config from './virtio-config.js';
import * as net from './virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC } from './virtio-ring.js';

const names = namesOf({ ...net, ...config }, /^VIRTIO_(NET_)?F_/);
names.set(VIRTIO_RING_F_INDIRECT_DESC, 'VIRTIO_RING_F_INDIRECT_DESC');
names.set(VIRTIO_RING_F_EVENT_IDX, 'VIRTIO_RING_F_EVENT_IDX');
names.set(vhost.VHOST_F_LOG_ALL, 'VHOST_F_LOG_ALL');
// Last, for it takes the number of VIRTIO_F_ANY_LAYOUT: what a vhost device offers under it is this.
names.set(vhost.VHOST_NET_F_VIRTIO_NET_HDR, 'VHOST_NET_F_VIRTIO_NET_HDR');

const backendNames = namesOf(vhost, /^VHOST_BACKEND_F_/);

/**
 * The kernel's names of the bits that are set, lowest first, for printing; `bit 48` where there is none. Bit
 * 27 is read as vhost-net reads it: VHOST_NET_F_VIRTIO_NET_HDR.
 */
export function featureNames(features: bigint): string[] {
  return namesOfBits(features, names);
}

/** The same of the bits of VHOST_GET_BACKEND_FEATURES. */
export function backendFeatureNames(features: bigint): string[] {
  return namesOfBits(features, backendNames);
}

function namesOf(constants: object, pattern: RegExp): Map<number, string> {
  const found = Object.entries(constants).filter(([name]) => pattern.test(name));
  return new Map(found.map(([name, n]) => [n, name]));
}

function namesOfBits(features: bigint, known: ReadonlyMap<number, string>): string[] {
  const found: string[] = [];
  for (let n = 0, rest = features; rest > 0n; n++, rest >>= 1n)
    if (rest & 1n) found.push(known.get(n) ?? `bit ${n}`);
  return found;
}
