/**
 * `<linux/virtio_ring.h>`: the split ring, VIRTIO 1.3 §2.7 Split Virtqueues. Fields are little-endian with
 * VIRTIO_F_VERSION_1.
 */

/** Largest number of entries. */
export const VRING_NUM_MAX = 32768;

// Descriptors: VIRTIO 1.3 §2.7.5 The Virtqueue Descriptor Table.

/** The chain goes on at `next`. */
export const VRING_DESC_F_NEXT = 1;
/** The device writes to this buffer; otherwise it reads. */
export const VRING_DESC_F_WRITE = 2;
/** The buffer is a table of descriptors (VIRTIO 1.3 §2.7.5.3 Indirect Descriptors). */
export const VRING_DESC_F_INDIRECT = 4;

export const VRING_DESC_SIZE = 16;
/** u64, guest physical address. */
export const VRING_DESC_ADDR_OFFSET = 0;
/** u32, bytes. */
export const VRING_DESC_LEN_OFFSET = 8;
/** u16, VRING_DESC_F_*. */
export const VRING_DESC_FLAGS_OFFSET = 12;
/** u16, index of a descriptor in the same table. */
export const VRING_DESC_NEXT_OFFSET = 14;
/** Alignment of the descriptor table, bytes. The kernel does not check it. */
export const VRING_DESC_ALIGN_SIZE = 16;

// VIRTIO 1.3 §2.7.6 The Virtqueue Available Ring, written by the driver.

/** The driver asks for no call; a hint, and only without VIRTIO_RING_F_EVENT_IDX. */
export const VRING_AVAIL_F_NO_INTERRUPT = 1;

/** u16, VRING_AVAIL_F_*. */
export const VRING_AVAIL_FLAGS_OFFSET = 0;
/** u16, counts heads made available, modulo 2^16. */
export const VRING_AVAIL_IDX_OFFSET = 2;
/** u16 for each entry, a head; after the last entry stands used_event, another u16. */
export const VRING_AVAIL_RING_OFFSET = 4;
export const VRING_AVAIL_ELEM_SIZE = 2;
/** Alignment of the available ring, bytes. */
export const VRING_AVAIL_ALIGN_SIZE = 2;
/** u16 at the end of the available ring (VIRTIO 1.3 §2.7.7 Used Buffer Notification Suppression). */
export const VRING_USED_EVENT_SIZE = 2;

// VIRTIO 1.3 §2.7.8 The Virtqueue Used Ring, written by the device.

/** The device asks for no kick; a hint, and only without VIRTIO_RING_F_EVENT_IDX. */
export const VRING_USED_F_NO_NOTIFY = 1;

/** u16, VRING_USED_F_*. */
export const VRING_USED_FLAGS_OFFSET = 0;
/** u16, counts chains used, modulo 2^16. */
export const VRING_USED_IDX_OFFSET = 2;
/** One element for each entry; after the last stands avail_event, a u16. */
export const VRING_USED_RING_OFFSET = 4;
export const VRING_USED_ELEM_SIZE = 8;
/** u32, the head of the chain. */
export const VRING_USED_ELEM_ID_OFFSET = 0;
/** u32, bytes that the device wrote. */
export const VRING_USED_ELEM_LEN_OFFSET = 4;
/** Alignment of the used ring, bytes. */
export const VRING_USED_ALIGN_SIZE = 4;
/** u16 at the end of the used ring (VIRTIO 1.3 §2.7.10 Available Buffer Notification Suppression). */
export const VRING_AVAIL_EVENT_SIZE = 2;

// Feature bits of the ring: VIRTIO 1.3 §6 Reserved Feature Bits.

/** Bit: descriptors may point to tables of descriptors. */
export const VIRTIO_RING_F_INDIRECT_DESC = 28;
/** Bit: used_event and avail_event say when to call and to kick, in place of the flags. */
export const VIRTIO_RING_F_EVENT_IDX = 29;
