/** `<sys/socket.h>`, as far as telling sockets apart goes. The numbers are those of asm-generic/socket.h. */

export const AF_UNIX = 1;
export const AF_PACKET = 17;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOL_SOCKET = 1;
export const SOL_PACKET = 263;
/** The kind of a socket, such as SOCK_RAW. */
export const SO_TYPE = 3;
/** The family of a socket, such as AF_PACKET. */
export const SO_DOMAIN = 39;
