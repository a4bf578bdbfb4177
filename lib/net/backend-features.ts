import { bit } from '../abi/bit.js';
import { VIRTIO_F_VERSION_1 } from '../abi/virtio-config.js';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_UFO,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_UFO,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_NET_HDR_SIZE,
  VIRTIO_NET_HDR_V1_SIZE,
} from '../abi/virtio-net.js';
import type { Offload } from '../backend/backend.js';

/** Each offload as feature bits: that the driver takes such frames, and that it may send them. */
const features: Readonly<Record<Offload, readonly [guest: number, host: number]>> = {
  csum: [VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM],
  tso4: [VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4],
  tso6: [VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6],
  ecn: [VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN],
  ufo: [VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_UFO],
  uso4: [VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_HOST_USO],
  uso6: [VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_USO],
};

/** The feature bits that a driver may be offered where the backend knows these offloads (VIRTIO 1.3 §5.1.3). */
export function offloadFeatures(offloads: readonly Offload[]): bigint {
  return offloads.flatMap((name) => features[name]).reduce((all, number) => all | bit(number), 0n);
}

/** The offloads of frames to the driver that it agreed to: what is asked of a tap. */
export function agreedOffloads(agreed: bigint): Offload[] {
  return (Object.keys(features) as Offload[]).filter((name) => (agreed & bit(features[name][0])) !== 0n);
}

/** Bytes of the virtio-net header under these features (VIRTIO 1.3 §5.1.6.1 Legacy Interface: Device Operation). */
export function headerSizeFor(agreed: bigint): number {
  const long = bit(VIRTIO_NET_F_MRG_RXBUF) | bit(VIRTIO_F_VERSION_1);
  return (agreed & long) === 0n ? VIRTIO_NET_HDR_SIZE : VIRTIO_NET_HDR_V1_SIZE;
}
