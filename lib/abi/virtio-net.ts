/**
 * `<linux/virtio_net.h>`: feature bits (VIRTIO 1.3 §5.1.3 Feature bits) and the header before each frame
 * (VIRTIO 1.3 §5.1.6 Device Operation).
 */

// Feature bits, as bit numbers. GUEST_* concern what the driver receives, HOST_* what it sends.

/** Bit: the device takes frames with a partial checksum. */
export const VIRTIO_NET_F_CSUM = 0;
/** Bit: the driver takes frames with a partial checksum. */
export const VIRTIO_NET_F_GUEST_CSUM = 1;
export const VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2;
export const VIRTIO_NET_F_MTU = 3;
export const VIRTIO_NET_F_MAC = 5;
/** Bit: segment offload of any kind (legacy). */
export const VIRTIO_NET_F_GSO = 6;
export const VIRTIO_NET_F_GUEST_TSO4 = 7;
export const VIRTIO_NET_F_GUEST_TSO6 = 8;
export const VIRTIO_NET_F_GUEST_ECN = 9;
export const VIRTIO_NET_F_GUEST_UFO = 10;
export const VIRTIO_NET_F_HOST_TSO4 = 11;
export const VIRTIO_NET_F_HOST_TSO6 = 12;
export const VIRTIO_NET_F_HOST_ECN = 13;
export const VIRTIO_NET_F_HOST_UFO = 14;
/** Bit: a received frame may fill several buffers; `num_buffers` counts them. */
export const VIRTIO_NET_F_MRG_RXBUF = 15;
export const VIRTIO_NET_F_STATUS = 16;
export const VIRTIO_NET_F_CTRL_VQ = 17;
export const VIRTIO_NET_F_CTRL_RX = 18;
export const VIRTIO_NET_F_CTRL_VLAN = 19;
export const VIRTIO_NET_F_CTRL_RX_EXTRA = 20;
export const VIRTIO_NET_F_GUEST_ANNOUNCE = 21;
/** Bit: more than one queue pair. */
export const VIRTIO_NET_F_MQ = 22;
export const VIRTIO_NET_F_CTRL_MAC_ADDR = 23;
export const VIRTIO_NET_F_DEVICE_STATS = 50;
export const VIRTIO_NET_F_VQ_NOTF_COAL = 52;
export const VIRTIO_NET_F_NOTF_COAL = 53;
export const VIRTIO_NET_F_GUEST_USO4 = 54;
export const VIRTIO_NET_F_GUEST_USO6 = 55;
export const VIRTIO_NET_F_HOST_USO = 56;
export const VIRTIO_NET_F_HASH_REPORT = 57;
export const VIRTIO_NET_F_GUEST_HDRLEN = 59;
export const VIRTIO_NET_F_RSS = 60;
export const VIRTIO_NET_F_RSC_EXT = 61;
export const VIRTIO_NET_F_STANDBY = 62;
export const VIRTIO_NET_F_SPEED_DUPLEX = 63;
/** Bit: beyond 64; agreed through VHOST_SET_FEATURES_ARRAY only, as are the next three. */
export const VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO = 65;
export const VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM = 66;
export const VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO = 67;
export const VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM = 68;

// `flags` of the header.

/** The checksum from `csum_start` on is still to be stored at `csum_start + csum_offset`. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
/** The checksum was verified. */
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;
/** The checksum fields count coalesced segments. */
export const VIRTIO_NET_HDR_F_RSC_INFO = 4;
/** The outer UDP header of a tunnel needs its checksum too. */
export const VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM = 8;

// `gso_type` of the header.

/** Not to be segmented. */
export const VIRTIO_NET_HDR_GSO_NONE = 0;
/** TCP over IPv4. */
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
/** UDP over IPv4, by IP fragmentation. */
export const VIRTIO_NET_HDR_GSO_UDP = 3;
/** TCP over IPv6. */
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** UDP, each segment a datagram of its own. */
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** In a UDP tunnel over IPv4; added to one of the types above. */
export const VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 = 0x20;
/** In a UDP tunnel over IPv6; added to one of the types above. */
export const VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6 = 0x40;
/** TCP has ECN set; added to a TCP type. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

// struct virtio_net_hdr_v1; the legacy struct virtio_net_hdr is the same without `num_buffers`.

/** Bytes without VIRTIO_F_VERSION_1 and VIRTIO_NET_F_MRG_RXBUF. */
export const VIRTIO_NET_HDR_SIZE = 10;
/** Bytes with either of them. */
export const VIRTIO_NET_HDR_V1_SIZE = 12;
/** u8, VIRTIO_NET_HDR_F_*. */
export const VIRTIO_NET_HDR_FLAGS_OFFSET = 0;
/** u8, VIRTIO_NET_HDR_GSO_*. */
export const VIRTIO_NET_HDR_GSO_TYPE_OFFSET = 1;
/** u16, bytes of the headers that each segment repeats. */
export const VIRTIO_NET_HDR_HDR_LEN_OFFSET = 2;
/** u16, payload bytes of a segment. */
export const VIRTIO_NET_HDR_GSO_SIZE_OFFSET = 4;
/** u16, where in the frame the checksum begins. */
export const VIRTIO_NET_HDR_CSUM_START_OFFSET = 6;
/** u16, where after that it is stored. */
export const VIRTIO_NET_HDR_CSUM_OFFSET_OFFSET = 8;
/** u16, buffers that a received frame fills. */
export const VIRTIO_NET_HDR_NUM_BUFFERS_OFFSET = 10;

// Longer headers.

/** struct virtio_net_hdr_v1_hash (VIRTIO_NET_F_HASH_REPORT). */
export const VIRTIO_NET_HDR_V1_HASH_SIZE = 20;
/** struct virtio_net_hdr_v1_hash_tunnel (segment offload in a UDP tunnel). */
export const VIRTIO_NET_HDR_V1_HASH_TUNNEL_SIZE = 24;
