/** Exports of lib/abi that no header for programs has: the value, and where the kernel or the spec fixes it. */
export const withoutHeader: ReadonlyMap<string, { readonly value: number; readonly source: string }> =
  new Map([
    ['VHOST_NET_VQ_RX', { value: 0, source: 'drivers/vhost/net.c' }],
    ['VHOST_NET_VQ_TX', { value: 1, source: 'drivers/vhost/net.c' }],
    ['VHOST_NET_VQ_MAX', { value: 2, source: 'drivers/vhost/net.c' }],
    ['VHOST_NET_WEIGHT', { value: 524_288, source: 'drivers/vhost/net.c' }],
    ['VHOST_NET_PKT_WEIGHT', { value: 256, source: 'drivers/vhost/net.c' }],
    ['VHOST_NET_BATCH', { value: 64, source: 'drivers/vhost/net.c' }],
    ['VHOST_MAX_PEND', { value: 128, source: 'drivers/vhost/net.c' }],
    ['VHOST_GOODCOPY_LEN', { value: 256, source: 'drivers/vhost/net.c' }],
    ['VHOST_MAX_MEM_REGIONS', { value: 64, source: 'drivers/vhost/vhost.c, max_mem_regions' }],
    ['VHOST_NET_MINOR', { value: 238, source: 'include/linux/miscdevice.h' }],
    ['MAX_TAP_QUEUES', { value: 256, source: 'drivers/net/tun.c and include/linux/if_tap.h' }],
    ['TUN_MINOR', { value: 200, source: 'include/linux/miscdevice.h' }],
    ['VRING_NUM_MAX', { value: 32_768, source: 'VIRTIO 1.3 §2.7 Split Virtqueues' }],
  ]);
