/**
 * `<linux/vhost.h>` and `<linux/vhost_types.h>`, as far as a net device goes, up to Linux 6.18.
 *
 * Request numbers have the encoding of asm-generic/ioctl.h, which x86, arm, riscv and s390 share.
 */

/** A descriptor that stands for "none": detaches a backend or an eventfd. */
export const VHOST_FILE_UNBIND = -1;

/** The type byte of every vhost request. */
export const VHOST_VIRTIO = 0xaf;

// Requests, by number.

/** Reads a u64: the features the device offers. */
export const VHOST_GET_FEATURES = 0x8008af00;
/** Takes a u64: the features to use, a subset of what is offered. */
export const VHOST_SET_FEATURES = 0x4008af00;
/** Makes the calling process the owner; starts the worker. */
export const VHOST_SET_OWNER = 0xaf01;
/** Gives the device up and resets it. */
export const VHOST_RESET_OWNER = 0xaf02;
/** Takes a struct vhost_memory. */
export const VHOST_SET_MEM_TABLE = 0x4008af03;
/** Takes a u64: user address of the dirty bitmap. */
export const VHOST_SET_LOG_BASE = 0x4008af04;
/** Takes an int: eventfd signalled when a page is logged. */
export const VHOST_SET_LOG_FD = 0x4004af07;
/** Reads a struct vhost_worker_state: the id of a new worker (Linux 6.5). */
export const VHOST_NEW_WORKER = 0x8004af08;
/** Takes a struct vhost_worker_state: the worker to end (Linux 6.5). */
export const VHOST_FREE_WORKER = 0x4004af09;
/** Takes a struct vhost_vring_state: the size of a ring. */
export const VHOST_SET_VRING_NUM = 0x4008af10;
/** Takes a struct vhost_vring_addr. */
export const VHOST_SET_VRING_ADDR = 0x4028af11;
/** Takes a struct vhost_vring_state: the available index to start from. */
export const VHOST_SET_VRING_BASE = 0x4008af12;
/** Reads and writes a struct vhost_vring_state: the next available index. */
export const VHOST_GET_VRING_BASE = 0xc008af12;
/** Takes a struct vhost_vring_state: byte order of a legacy ring. */
export const VHOST_SET_VRING_ENDIAN = 0x4008af13;
/** Fills a struct vhost_vring_state, although its number says "write". */
export const VHOST_GET_VRING_ENDIAN = 0x4008af14;
/** Takes a struct vhost_vring_worker (Linux 6.5). */
export const VHOST_ATTACH_VRING_WORKER = 0x4008af15;
/** Reads and writes a struct vhost_vring_worker (Linux 6.5). */
export const VHOST_GET_VRING_WORKER = 0xc008af16;
/** Takes a struct vhost_vring_file: eventfd that the driver signals. */
export const VHOST_SET_VRING_KICK = 0x4008af20;
/** Takes a struct vhost_vring_file: eventfd that the device signals. */
export const VHOST_SET_VRING_CALL = 0x4008af21;
/** Takes a struct vhost_vring_file: eventfd that the device signals on an error. */
export const VHOST_SET_VRING_ERR = 0x4008af22;
/** Takes a struct vhost_vring_state: busy polling, microseconds. */
export const VHOST_SET_VRING_BUSYLOOP_TIMEOUT = 0x4008af23;
/** Fills a struct vhost_vring_state, although its number says "write". */
export const VHOST_GET_VRING_BUSYLOOP_TIMEOUT = 0x4008af24;
/** Takes a u64: VHOST_BACKEND_F_* bits. */
export const VHOST_SET_BACKEND_FEATURES = 0x4008af25;
/** Reads a u64: VHOST_BACKEND_F_* bits. */
export const VHOST_GET_BACKEND_FEATURES = 0x8008af26;
/** Takes a struct vhost_vring_file: the tap or packet socket of a queue. */
export const VHOST_NET_SET_BACKEND = 0x4008af30;
/** Reads a struct vhost_features_array (Linux 6.17). */
export const VHOST_GET_FEATURES_ARRAY = 0x8008af83;
/** Takes a struct vhost_features_array (Linux 6.17). */
export const VHOST_SET_FEATURES_ARRAY = 0x4008af83;
/** Takes a u8: VHOST_FORK_OWNER_TASK or VHOST_FORK_OWNER_KTHREAD; before the owner is set (Linux 6.17). */
export const VHOST_SET_FORK_FROM_OWNER = 0x4001af84;
/** Reads a u8 (Linux 6.17). */
export const VHOST_GET_FORK_FROM_OWNER = 0x8001af85;

// Values that requests take.

export const VHOST_VRING_LITTLE_ENDIAN = 0;
export const VHOST_VRING_BIG_ENDIAN = 1;
/** The worker is a kernel thread. */
export const VHOST_FORK_OWNER_KTHREAD = 0;
/** The worker is a task of the owner: in its cgroup, in its limits, among its threads. */
export const VHOST_FORK_OWNER_TASK = 1;
/** Bit of `vhost_vring_addr.flags`: writes to the used ring are logged at `log_guest_addr`. */
export const VHOST_VRING_F_LOG = 0;
/** Granularity of the dirty bitmap: one bit for so many bytes. */
export const VHOST_PAGE_SIZE = 0x1000;

// Feature bits of vhost itself.

/** Bit: every write to guest memory is logged; may change while rings run. */
export const VHOST_F_LOG_ALL = 26;
/** Bit: vhost itself supplies and strips the virtio-net header. VIRTIO_F_ANY_LAYOUT has the same number. */
export const VHOST_NET_F_VIRTIO_NET_HDR = 27;

// Backend feature bits (VHOST_GET_BACKEND_FEATURES).

/** Bit: IOTLB messages have the layout of struct vhost_msg_v2. */
export const VHOST_BACKEND_F_IOTLB_MSG_V2 = 1;
/** Bit: IOTLB messages come in batches. */
export const VHOST_BACKEND_F_IOTLB_BATCH = 2;
/** Bit: IOTLB messages name an address space. */
export const VHOST_BACKEND_F_IOTLB_ASID = 3;
/** Bit: the device can be suspended. */
export const VHOST_BACKEND_F_SUSPEND = 4;

// struct vhost_vring_state

export const VHOST_VRING_STATE_SIZE = 8;
export const VHOST_VRING_STATE_INDEX_OFFSET = 0;
export const VHOST_VRING_STATE_NUM_OFFSET = 4;

// struct vhost_vring_file

export const VHOST_VRING_FILE_SIZE = 8;
export const VHOST_VRING_FILE_INDEX_OFFSET = 0;
export const VHOST_VRING_FILE_FD_OFFSET = 4;

// struct vhost_vring_addr

export const VHOST_VRING_ADDR_SIZE = 40;
export const VHOST_VRING_ADDR_INDEX_OFFSET = 0;
export const VHOST_VRING_ADDR_FLAGS_OFFSET = 4;
export const VHOST_VRING_ADDR_DESC_USER_ADDR_OFFSET = 8;
export const VHOST_VRING_ADDR_USED_USER_ADDR_OFFSET = 16;
export const VHOST_VRING_ADDR_AVAIL_USER_ADDR_OFFSET = 24;
export const VHOST_VRING_ADDR_LOG_GUEST_ADDR_OFFSET = 32;

// struct vhost_memory and struct vhost_memory_region

/** The fixed part; regions follow. */
export const VHOST_MEMORY_SIZE = 8;
export const VHOST_MEMORY_NREGIONS_OFFSET = 0;
export const VHOST_MEMORY_PADDING_OFFSET = 4;
export const VHOST_MEMORY_REGIONS_OFFSET = 8;
export const VHOST_MEMORY_REGION_SIZE = 32;
export const VHOST_MEMORY_REGION_GUEST_PHYS_ADDR_OFFSET = 0;
export const VHOST_MEMORY_REGION_MEMORY_SIZE_OFFSET = 8;
export const VHOST_MEMORY_REGION_USERSPACE_ADDR_OFFSET = 16;
export const VHOST_MEMORY_REGION_FLAGS_PADDING_OFFSET = 24;

// struct vhost_worker_state and struct vhost_vring_worker

export const VHOST_WORKER_STATE_SIZE = 4;
export const VHOST_WORKER_STATE_WORKER_ID_OFFSET = 0;
export const VHOST_VRING_WORKER_SIZE = 8;
export const VHOST_VRING_WORKER_INDEX_OFFSET = 0;
export const VHOST_VRING_WORKER_WORKER_ID_OFFSET = 4;

// struct vhost_features_array

/** The fixed part; u64 words follow. */
export const VHOST_FEATURES_ARRAY_SIZE = 8;
export const VHOST_FEATURES_ARRAY_COUNT_OFFSET = 0;
export const VHOST_FEATURES_ARRAY_FEATURES_OFFSET = 8;

// Messages of the IOTLB, read from and written to the vhost descriptor (VIRTIO_F_ACCESS_PLATFORM).

/** Access that a message grants or misses. */
export const VHOST_ACCESS_RO = 1;
export const VHOST_ACCESS_WO = 2;
export const VHOST_ACCESS_RW = 3;
/** Device to driver: an address is not mapped. */
export const VHOST_IOTLB_MISS = 1;
/** Driver to device: a mapping. */
export const VHOST_IOTLB_UPDATE = 2;
/** Driver to device: a mapping is gone. */
export const VHOST_IOTLB_INVALIDATE = 3;
/** Device to driver: an access was not allowed. */
export const VHOST_IOTLB_ACCESS_FAIL = 4;
/** Updates up to VHOST_IOTLB_BATCH_END belong together. */
export const VHOST_IOTLB_BATCH_BEGIN = 5;
export const VHOST_IOTLB_BATCH_END = 6;
/** `type` of a struct vhost_msg. */
export const VHOST_IOTLB_MSG = 1;
/** `type` of a struct vhost_msg_v2. */
export const VHOST_IOTLB_MSG_V2 = 2;

// struct vhost_iotlb_msg

export const VHOST_IOTLB_MSG_SIZE = 32;
export const VHOST_IOTLB_MSG_IOVA_OFFSET = 0;
export const VHOST_IOTLB_MSG_SIZE_OFFSET = 8;
export const VHOST_IOTLB_MSG_UADDR_OFFSET = 16;
export const VHOST_IOTLB_MSG_PERM_OFFSET = 24;
export const VHOST_IOTLB_MSG_TYPE_OFFSET = 25;

// struct vhost_msg and struct vhost_msg_v2

export const VHOST_MSG_SIZE = 72;
export const VHOST_MSG_TYPE_OFFSET = 0;
export const VHOST_MSG_IOTLB_OFFSET = 8;
export const VHOST_MSG_V2_SIZE = 72;
export const VHOST_MSG_V2_TYPE_OFFSET = 0;
export const VHOST_MSG_V2_ASID_OFFSET = 4;
export const VHOST_MSG_V2_IOTLB_OFFSET = 8;
