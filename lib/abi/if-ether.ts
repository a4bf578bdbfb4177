/** `<linux/if_ether.h>`: Ethernet frames. Lengths are without the frame check sequence. */

/** Bytes of an address. */
export const ETH_ALEN = 6;
/** Bytes of the type field. */
export const ETH_TLEN = 2;
/** Bytes of the header: two addresses and the type. */
export const ETH_HLEN = 14;
/** Least bytes of a frame on a wire; a tap takes shorter ones. */
export const ETH_ZLEN = 60;
/** Most bytes of payload without jumbo frames. */
export const ETH_DATA_LEN = 1500;
/** Most bytes of a frame without jumbo frames. */
export const ETH_FRAME_LEN = 1514;
/** Bytes of the frame check sequence. */
export const ETH_FCS_LEN = 4;
export const ETH_MIN_MTU = 68;
export const ETH_MAX_MTU = 65535;

// Types, in host order.

/** bind(2) of a packet socket: frames of every type. */
export const ETH_P_ALL = 0x0003;
export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021AD = 0x88a8;
/** The least value that is a type; a smaller one is a length. */
export const ETH_P_802_3_MIN = 0x0600;
