/** `<linux/if.h>`, `<linux/if_arp.h>` and `<linux/sockios.h>`: interfaces by name, netdevice(7). */

/** Bytes of a name, its terminating NUL among them. */
export const IFNAMSIZ = 16;

// SIOCGIFFLAGS and SIOCSIFFLAGS: 16 bits travel in a struct ifreq, so IFF_LOWER_UP is seen by netlink only.

export const IFF_UP = 0x1;
export const IFF_BROADCAST = 0x2;
export const IFF_LOOPBACK = 0x8;
export const IFF_POINTOPOINT = 0x10;
/** Up and with carrier. */
export const IFF_RUNNING = 0x40;
export const IFF_NOARP = 0x80;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;
export const IFF_MULTICAST = 0x1000;
export const IFF_LOWER_UP = 0x10000;

// Requests.

export const SIOCGIFNAME = 0x8910;
export const SIOCGIFFLAGS = 0x8913;
export const SIOCSIFFLAGS = 0x8914;
export const SIOCGIFMTU = 0x8921;
export const SIOCSIFMTU = 0x8922;
export const SIOCSIFHWADDR = 0x8924;
export const SIOCGIFHWADDR = 0x8927;
export const SIOCGIFINDEX = 0x8933;

// Kinds of hardware address.

export const ARPHRD_ETHER = 1;
/** None at all: a layer 3 tun. */
export const ARPHRD_NONE = 0xfffe;

// struct ifreq, on a 64-bit host.

export const IFREQ_SIZE = 40;
export const IFREQ_NAME_OFFSET = 0;
export const IFREQ_FLAGS_OFFSET = 16;
export const IFREQ_IFINDEX_OFFSET = 16;
export const IFREQ_MTU_OFFSET = 16;
export const IFREQ_HWADDR_OFFSET = 16;
