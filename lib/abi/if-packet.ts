/** `<linux/if_packet.h>`: packet sockets, packet(7). */

// Options at level SOL_PACKET.

export const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_DROP_MEMBERSHIP = 2;
export const PACKET_STATISTICS = 6;
/** A virtio-net header of 10 bytes before each frame. */
export const PACKET_VNET_HDR = 15;
/** Frames go to the driver past the queueing discipline. */
export const PACKET_QDISC_BYPASS = 20;
/** Frames that this host sends are not received. */
export const PACKET_IGNORE_OUTGOING = 23;
/** A virtio-net header of 10 or 12 bytes before each frame (Linux 6.4). */
export const PACKET_VNET_HDR_SZ = 24;

// Types of a membership.

export const PACKET_MR_MULTICAST = 0;
export const PACKET_MR_PROMISC = 1;
export const PACKET_MR_ALLMULTI = 2;
export const PACKET_MR_UNICAST = 3;

// `sll_pkttype`.

export const PACKET_HOST = 0;
export const PACKET_BROADCAST = 1;
export const PACKET_MULTICAST = 2;
export const PACKET_OTHERHOST = 3;
export const PACKET_OUTGOING = 4;

// struct sockaddr_ll

export const SOCKADDR_LL_SIZE = 20;
export const SOCKADDR_LL_FAMILY_OFFSET = 0;
/** u16, network byte order. */
export const SOCKADDR_LL_PROTOCOL_OFFSET = 2;
export const SOCKADDR_LL_IFINDEX_OFFSET = 4;
export const SOCKADDR_LL_HATYPE_OFFSET = 8;
export const SOCKADDR_LL_PKTTYPE_OFFSET = 10;
export const SOCKADDR_LL_HALEN_OFFSET = 11;
export const SOCKADDR_LL_ADDR_OFFSET = 12;

// struct packet_mreq

export const PACKET_MREQ_SIZE = 16;
export const PACKET_MREQ_IFINDEX_OFFSET = 0;
export const PACKET_MREQ_TYPE_OFFSET = 4;
export const PACKET_MREQ_ALEN_OFFSET = 6;
export const PACKET_MREQ_ADDRESS_OFFSET = 8;
