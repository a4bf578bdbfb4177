/**
 * What drivers/vhost/net.c and drivers/vhost/vhost.c fix without a header that programs can include. A
 * driver cannot change these numbers; it meets them in how completions arrive.
 */

/** Index of the receive queue of a vhost-net device. */
export const VHOST_NET_VQ_RX = 0;
/** Index of the transmit queue. */
export const VHOST_NET_VQ_TX = 1;
/** Queues of one device: one pair. */
export const VHOST_NET_VQ_MAX = 2;
/** Bytes that the worker moves on one queue before it yields to the other. */
export const VHOST_NET_WEIGHT = 0x80000;
/** Frames that the worker moves on one queue before it yields to the other. */
export const VHOST_NET_PKT_WEIGHT = 256;
/** Transmitted frames that are completed at once. */
export const VHOST_NET_BATCH = 64;
/** Zero-copy frames that may be outstanding, where a quarter of the ring is not less. */
export const VHOST_MAX_PEND = 128;
/** A frame shorter than this is copied even where zero-copy is on. */
export const VHOST_GOODCOPY_LEN = 256;
/** Regions of a memory table, where the module parameter of that name says nothing else. */
export const VHOST_MAX_MEM_REGIONS = 64;
/** Minor number of /dev/vhost-net, under MISC_MAJOR (include/linux/miscdevice.h). */
export const VHOST_NET_MINOR = 238;
