/** What a header of an older kernel may lack. */
export interface Later {
  /** The first kernel whose headers have it. */
  readonly since: readonly [number, number];
  /** The value in C terms that any header has, so that it is computed a second time even where it is absent. */
  readonly expression: string;
}

const later = new Map<string, Later>();

function since(major: number, minor: number, expressions: Readonly<Record<string, string>>): void {
  for (const [name, expression] of Object.entries(expressions))
    later.set(name, { since: [major, minor], expression });
}

since(5, 19, {
  VHOST_BACKEND_F_IOTLB_ASID: '3',
  VHOST_MSG_V2_ASID_OFFSET: 'sizeof(__u32)',
});
since(6, 1, {
  IFF_NO_CARRIER: '1 << 6',
  VHOST_BACKEND_F_SUSPEND: '4',
  VIRTIO_F_RING_RESET: '40',
  VIRTIO_NET_F_NOTF_COAL: '53',
});
since(6, 2, {
  TUN_F_USO4: '1 << 5',
  TUN_F_USO6: '1 << 6',
  VIRTIO_NET_F_GUEST_USO4: '54',
  VIRTIO_NET_F_GUEST_USO6: '55',
  VIRTIO_NET_F_HOST_USO: '56',
  VIRTIO_NET_HDR_GSO_UDP_L4: '5',
});
since(6, 4, {
  PACKET_VNET_HDR_SZ: 'PACKET_IGNORE_OUTGOING + 1',
  VIRTIO_F_NOTIFICATION_DATA: '38',
  VIRTIO_NET_F_GUEST_HDRLEN: '59',
});
since(6, 5, {
  VHOST_NEW_WORKER: '_IOR(VHOST_VIRTIO, 0x8, unsigned int)',
  VHOST_FREE_WORKER: '_IOW(VHOST_VIRTIO, 0x9, unsigned int)',
  VHOST_ATTACH_VRING_WORKER: '_IOW(VHOST_VIRTIO, 0x15, unsigned int[2])',
  VHOST_GET_VRING_WORKER: '_IOWR(VHOST_VIRTIO, 0x16, unsigned int[2])',
  VHOST_WORKER_STATE_SIZE: 'sizeof(unsigned int)',
  VHOST_WORKER_STATE_WORKER_ID_OFFSET: '0',
  VHOST_VRING_WORKER_SIZE: 'sizeof(unsigned int[2])',
  VHOST_VRING_WORKER_INDEX_OFFSET: '0',
  VHOST_VRING_WORKER_WORKER_ID_OFFSET: 'sizeof(unsigned int)',
});
since(6, 6, { VIRTIO_NET_F_VQ_NOTF_COAL: '52' });
since(6, 8, { VIRTIO_F_ADMIN_VQ: '41' });
since(6, 10, { VIRTIO_NET_F_DEVICE_STATS: '50' });
since(6, 11, { VIRTIO_F_NOTIF_CONFIG_DATA: '39' });
since(6, 17, {
  TUN_F_UDP_TUNNEL_GSO: '1 << 7',
  TUN_F_UDP_TUNNEL_GSO_CSUM: '1 << 8',
  VHOST_GET_FEATURES_ARRAY: '_IOR(VHOST_VIRTIO, 0x83, __u64)',
  VHOST_SET_FEATURES_ARRAY: '_IOW(VHOST_VIRTIO, 0x83, __u64)',
  VHOST_FEATURES_ARRAY_SIZE: 'sizeof(__u64)',
  VHOST_FEATURES_ARRAY_COUNT_OFFSET: '0',
  VHOST_FEATURES_ARRAY_FEATURES_OFFSET: 'sizeof(__u64)',
  VHOST_FORK_OWNER_KTHREAD: '0',
  VHOST_FORK_OWNER_TASK: '1',
  VHOST_SET_FORK_FROM_OWNER: '_IOW(VHOST_VIRTIO, 0x84, __u8)',
  VHOST_GET_FORK_FROM_OWNER: '_IOR(VHOST_VIRTIO, 0x85, __u8)',
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO: '65',
  VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM: '66',
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO: '67',
  VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM: '68',
  VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM: '1 << 3',
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4: '1 << 5',
  VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6: '1 << 6',
  VIRTIO_NET_HDR_V1_HASH_TUNNEL_SIZE: 'sizeof(struct virtio_net_hdr_v1_hash) + sizeof(__u16[2])',
});

export const laterKernels: ReadonlyMap<string, Later> = later;
