import { VHOST_F_LOG_ALL, VHOST_NET_F_VIRTIO_NET_HDR } from './vhost.js';
import * as config from './virtio-config.js';
import * as net from './virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC } from './virtio-ring.js';

const names = new Map<number, string>();
for (const [name, n] of Object.entries({ ...net, ...config }))
  if (/^VIRTIO_(NET_)?F_/.test(name)) names.set(n, name);
names.set(VIRTIO_RING_F_INDIRECT_DESC, 'VIRTIO_RING_F_INDIRECT_DESC');
names.set(VIRTIO_RING_F_EVENT_IDX, 'VIRTIO_RING_F_EVENT_IDX');
names.set(VHOST_F_LOG_ALL, 'VHOST_F_LOG_ALL');
// Last, for it takes the number of VIRTIO_F_ANY_LAYOUT: what a vhost device offers under it is this.
names.set(VHOST_NET_F_VIRTIO_NET_HDR, 'VHOST_NET_F_VIRTIO_NET_HDR');

/**
 * The kernel's names of the bits that are set, lowest first, for printing; `bit 48` where there is none. Bit
 * 27 is read as vhost-net reads it: VHOST_NET_F_VIRTIO_NET_HDR.
 */
export function featureNames(features: bigint): string[] {
  const found: string[] = [];
  for (let n = 0, rest = features; rest > 0n; n++, rest >>= 1n)
    if (rest & 1n) found.push(names.get(n) ?? `bit ${n}`);
  return found;
}
