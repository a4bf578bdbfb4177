/** `<linux/major.h>`: device numbers of character devices. */

/** Major number of the miscellaneous devices, among them /dev/vhost-net and /dev/net/tun. */
export const MISC_MAJOR = 10;
