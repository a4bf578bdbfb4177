// Constants of <linux/if_packet.h> that an older header lacks. Plain C, so that a C program can
// include it too.
#ifndef VHOST_NET_NATIVE_LINUX_ABI_H_
#define VHOST_NET_NATIVE_LINUX_ABI_H_

#include <linux/if_packet.h>

// Linux 6.4: a virtio-net header of a chosen size.
#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24
#endif

#endif
