/** `<linux/if_tun.h>`: TUN/TAP. Request numbers have the encoding of asm-generic/ioctl.h. */

// Requests, by number.

/** Takes a struct ifreq: name and IFF_* flags; makes or attaches the interface. */
export const TUNSETIFF = 0x400454ca;
/** Takes an int by value: 1 keeps the interface when its last descriptor closes. */
export const TUNSETPERSIST = 0x400454cb;
/** Takes a user id by value. */
export const TUNSETOWNER = 0x400454cc;
/** Takes a group id by value. */
export const TUNSETGROUP = 0x400454ce;
/** Reads a u32: IFF_* flags that TUNSETIFF knows. */
export const TUNGETFEATURES = 0x800454cf;
/** Takes TUN_F_* bits by value; unknown bits are refused. */
export const TUNSETOFFLOAD = 0x400454d0;
/** Reads a struct ifreq. */
export const TUNGETIFF = 0x800454d2;
/** Reads an int, bytes. */
export const TUNGETSNDBUF = 0x800454d3;
/** Takes an int, bytes. */
export const TUNSETSNDBUF = 0x400454d4;
/** Reads an int, bytes. */
export const TUNGETVNETHDRSZ = 0x800454d7;
/** Takes an int, bytes. */
export const TUNSETVNETHDRSZ = 0x400454d8;
/** Takes a struct ifreq with IFF_ATTACH_QUEUE or IFF_DETACH_QUEUE. */
export const TUNSETQUEUE = 0x400454d9;
/** Takes an int: the index that the next TUNSETIFF gives. */
export const TUNSETIFINDEX = 0x400454da;
/** Takes an int: 1 makes the header little-endian. */
export const TUNSETVNETLE = 0x400454dc;
/** Reads an int. */
export const TUNGETVNETLE = 0x800454dd;
/** Takes an int: 1 makes a legacy header big-endian. */
export const TUNSETVNETBE = 0x400454de;
/** Reads an int. */
export const TUNGETVNETBE = 0x800454df;
/** Takes an int: 1 carrier, 0 none. */
export const TUNSETCARRIER = 0x400454e2;
/** A descriptor of the network namespace that the interface is in. */
export const TUNGETDEVNETNS = 0x54e3;

// Flags of TUNSETIFF, TUNGETIFF and TUNGETFEATURES.

/** Layer 3: packets without an Ethernet header. */
export const IFF_TUN = 0x0001;
/** Layer 2: Ethernet frames. */
export const IFF_TAP = 0x0002;
/** Bits that hold the kind of device. */
export const TUN_TYPE_MASK = 0x000f;
export const IFF_NAPI = 0x0010;
export const IFF_NAPI_FRAGS = 0x0020;
/** The interface starts without carrier (Linux 6.1). */
export const IFF_NO_CARRIER = 0x0040;
/** Several descriptors, each a queue. */
export const IFF_MULTI_QUEUE = 0x0100;
/** TUNSETQUEUE: this descriptor takes part again. */
export const IFF_ATTACH_QUEUE = 0x0200;
/** TUNSETQUEUE: this descriptor rests. */
export const IFF_DETACH_QUEUE = 0x0400;
/** TUNGETIFF: the interface outlives its descriptors. */
export const IFF_PERSIST = 0x0800;
/** No struct tun_pi before a frame. */
export const IFF_NO_PI = 0x1000;
/** TUNGETIFF: no filter is set; the same number as IFF_NO_PI. */
export const IFF_NOFILTER = 0x1000;
/** Without effect since Linux 3.8. */
export const IFF_ONE_QUEUE = 0x2000;
/** A virtio-net header before each frame. */
export const IFF_VNET_HDR = 0x4000;
/** An interface of that name must not exist yet. */
export const IFF_TUN_EXCL = 0x8000;

/** Queues that one interface may have. */
export const MAX_TAP_QUEUES = 256;

// TUNSETOFFLOAD: what the holder of the descriptor can take. All but TUN_F_CSUM ask for TUN_F_CSUM.

/** Frames with a partial checksum. */
export const TUN_F_CSUM = 0x01;
/** TCP over IPv4, unsegmented. */
export const TUN_F_TSO4 = 0x02;
/** TCP over IPv6, unsegmented. */
export const TUN_F_TSO6 = 0x04;
/** TCP with ECN, unsegmented. */
export const TUN_F_TSO_ECN = 0x08;
/** UDP fragments, unsegmented. */
export const TUN_F_UFO = 0x10;
/** UDP over IPv4, unsegmented (Linux 6.2). */
export const TUN_F_USO4 = 0x20;
/** UDP over IPv6, unsegmented (Linux 6.2). */
export const TUN_F_USO6 = 0x40;
/** Segment offload in a UDP tunnel (Linux 6.17). */
export const TUN_F_UDP_TUNNEL_GSO = 0x80;
/** The same with a partial checksum of the outer header (Linux 6.17). */
export const TUN_F_UDP_TUNNEL_GSO_CSUM = 0x100;

/** Minor number of /dev/net/tun, under MISC_MAJOR (include/linux/miscdevice.h). */
export const TUN_MINOR = 200;
