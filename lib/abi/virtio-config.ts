/**
 * `<linux/virtio_config.h>`: feature bits that every kind of device shares, as bit numbers. VIRTIO 1.3 §6
 * Reserved Feature Bits; the first two are of the legacy interface.
 */

/** Bit: a call comes when the ring runs empty, even where calls are suppressed (legacy). */
export const VIRTIO_F_NOTIFY_ON_EMPTY = 24;
/** Bit: the device takes any framing of header and data (legacy). */
export const VIRTIO_F_ANY_LAYOUT = 27;
/** Bit: VIRTIO 1.0 or later: little-endian, header of 12 bytes. */
export const VIRTIO_F_VERSION_1 = 32;
/** Bit: addresses go through an IOMMU; with vhost, through its IOTLB. */
export const VIRTIO_F_ACCESS_PLATFORM = 33;
/** Bit: the packed ring. */
export const VIRTIO_F_RING_PACKED = 34;
/** Bit: the device uses chains in the order in which they became available. */
export const VIRTIO_F_IN_ORDER = 35;
/** Bit: memory is ordered as the platform says, not only as the CPU does. */
export const VIRTIO_F_ORDER_PLATFORM = 36;
/** Bit: single-root I/O virtualisation. */
export const VIRTIO_F_SR_IOV = 37;
/** Bit: a kick carries the available index (Linux 6.4). */
export const VIRTIO_F_NOTIFICATION_DATA = 38;
/** Bit: the device names what a kick must carry (Linux 6.11). */
export const VIRTIO_F_NOTIF_CONFIG_DATA = 39;
/** Bit: a queue can be reset alone (VIRTIO 1.3 §2.6.1 Virtqueue Reset). */
export const VIRTIO_F_RING_RESET = 40;
/** Bit: administration queues (Linux 6.8). */
export const VIRTIO_F_ADMIN_VQ = 41;
