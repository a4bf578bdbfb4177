// Requests of <linux/vhost.h> that an older header lacks. Plain C, so that a C program can include
// it too.
#ifndef VHOST_NET_NATIVE_VHOST_ABI_H_
#define VHOST_NET_NATIVE_VHOST_ABI_H_

#include <linux/ioctl.h>
#include <linux/types.h>

// <linux/vhost.h> includes <linux/virtio_ring.h>, whose inline functions for the legacy ring are
// not C++.
#if defined(__cplusplus) && !defined(VIRTIO_RING_NO_LEGACY)
#define VIRTIO_RING_NO_LEGACY
#endif
#include <linux/vhost.h>

// Linux 6.5: workers that a program creates and shares out among vrings.
#ifndef VHOST_NEW_WORKER
struct vhost_worker_state {
  unsigned int worker_id;
};
struct vhost_vring_worker {
  unsigned int index;
  unsigned int worker_id;
};
#define VHOST_NEW_WORKER _IOR(VHOST_VIRTIO, 0x08, struct vhost_worker_state)
#define VHOST_FREE_WORKER _IOW(VHOST_VIRTIO, 0x09, struct vhost_worker_state)
#define VHOST_ATTACH_VRING_WORKER _IOW(VHOST_VIRTIO, 0x15, struct vhost_vring_worker)
#define VHOST_GET_VRING_WORKER _IOWR(VHOST_VIRTIO, 0x16, struct vhost_vring_worker)
#endif

// Linux 6.17: feature bits from 64 up. The encoded size is that of `count` alone.
#ifndef VHOST_GET_FEATURES_ARRAY
struct vhost_features_array {
  __u64 count;
  __u64 features[];
};
#define VHOST_GET_FEATURES_ARRAY _IOR(VHOST_VIRTIO, 0x83, struct vhost_features_array)
#define VHOST_SET_FEATURES_ARRAY _IOW(VHOST_VIRTIO, 0x83, struct vhost_features_array)
#endif

// Linux 6.17: whether workers are tasks of the owner or kernel threads.
#ifndef VHOST_SET_FORK_FROM_OWNER
#define VHOST_FORK_OWNER_KTHREAD 0
#define VHOST_FORK_OWNER_TASK 1
#define VHOST_SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, __u8)
#define VHOST_GET_FORK_FROM_OWNER _IOR(VHOST_VIRTIO, 0x85, __u8)
#endif

#endif
