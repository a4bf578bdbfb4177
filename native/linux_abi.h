// Constants of <linux/if_tun.h>, <linux/if_packet.h> and <linux/memfd.h> that an older header
// lacks. Plain C.
#ifndef VHOST_NET_NATIVE_LINUX_ABI_H_
#define VHOST_NET_NATIVE_LINUX_ABI_H_

#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/memfd.h>

// Linux 6.2: UDP segmentation.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

// Linux 6.17: segmentation of UDP tunnels.
#ifndef TUN_F_UDP_TUNNEL_GSO
#define TUN_F_UDP_TUNNEL_GSO 0x080
#define TUN_F_UDP_TUNNEL_GSO_CSUM 0x100
#endif

// Linux 6.4: a virtio-net header of a chosen size.
#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24
#endif

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#define MFD_HUGE_MASK 0x3f
#endif

#endif
