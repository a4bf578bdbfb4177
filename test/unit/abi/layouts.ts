/** Exports of lib/abi that are no name of a header but a size or an offset: the C expression for each. */
export const layouts: ReadonlyMap<string, string> = new Map([
  ...struct('VHOST_VRING_STATE', 'struct vhost_vring_state', ['index', 'num']),
  ...struct('VHOST_VRING_FILE', 'struct vhost_vring_file', ['index', 'fd']),
  ...struct('VHOST_VRING_ADDR', 'struct vhost_vring_addr', [
    'index',
    'flags',
    'desc_user_addr',
    'used_user_addr',
    'avail_user_addr',
    'log_guest_addr',
  ]),
  ...struct('VHOST_MEMORY', 'struct vhost_memory', ['nregions', 'padding', 'regions']),
  ...struct('VHOST_MEMORY_REGION', 'struct vhost_memory_region', [
    'guest_phys_addr',
    'memory_size',
    'userspace_addr',
    'flags_padding',
  ]),
  ...struct('VHOST_WORKER_STATE', 'struct vhost_worker_state', ['worker_id']),
  ...struct('VHOST_VRING_WORKER', 'struct vhost_vring_worker', ['index', 'worker_id']),
  ...struct('VHOST_FEATURES_ARRAY', 'struct vhost_features_array', ['count', 'features']),
  ...struct('VHOST_IOTLB_MSG', 'struct vhost_iotlb_msg', ['iova', 'size', 'uaddr', 'perm', 'type']),
  ...struct('VHOST_MSG', 'struct vhost_msg', ['type', 'iotlb']),
  ...struct('VHOST_MSG_V2', 'struct vhost_msg_v2', ['type', 'asid', 'iotlb']),

  ...struct('VRING_DESC', 'struct vring_desc', ['addr', 'len', 'flags', 'next']),
  ...offsets('VRING_AVAIL', 'struct vring_avail', ['flags', 'idx', 'ring']),
  ['VRING_AVAIL_ELEM_SIZE', 'sizeof(((struct vring_avail *)0)->ring[0])'],
  ['VRING_USED_EVENT_SIZE', 'sizeof(vring_used_event((struct vring *)0))'],
  ...offsets('VRING_USED', 'struct vring_used', ['flags', 'idx', 'ring']),
  ...struct('VRING_USED_ELEM', 'struct vring_used_elem', ['id', 'len']),
  ['VRING_AVAIL_EVENT_SIZE', 'sizeof(vring_avail_event((struct vring *)0))'],

  ['VIRTIO_NET_HDR_SIZE', 'sizeof(struct virtio_net_hdr)'],
  ...struct('VIRTIO_NET_HDR_V1', 'struct virtio_net_hdr_v1', []),
  ...offsets('VIRTIO_NET_HDR', 'struct virtio_net_hdr_v1', [
    'flags',
    'gso_type',
    'hdr_len',
    'gso_size',
    'csum_start',
    'csum_offset',
    'num_buffers',
  ]),
  ['VIRTIO_NET_HDR_V1_HASH_SIZE', 'sizeof(struct virtio_net_hdr_v1_hash)'],
  ['VIRTIO_NET_HDR_V1_HASH_TUNNEL_SIZE', 'sizeof(struct virtio_net_hdr_v1_hash_tunnel)'],

  ...struct('SOCKADDR_LL', 'struct sockaddr_ll', [
    ['FAMILY', 'sll_family'],
    ['PROTOCOL', 'sll_protocol'],
    ['IFINDEX', 'sll_ifindex'],
    ['HATYPE', 'sll_hatype'],
    ['PKTTYPE', 'sll_pkttype'],
    ['HALEN', 'sll_halen'],
    ['ADDR', 'sll_addr'],
  ]),
  ...struct('PACKET_MREQ', 'struct packet_mreq', [
    ['IFINDEX', 'mr_ifindex'],
    ['TYPE', 'mr_type'],
    ['ALEN', 'mr_alen'],
    ['ADDRESS', 'mr_address'],
  ]),
  ...struct('IFREQ', 'struct ifreq', [
    ['NAME', 'ifr_name'],
    ['FLAGS', 'ifr_flags'],
    ['IFINDEX', 'ifr_ifindex'],
    ['MTU', 'ifr_mtu'],
    ['HWADDR', 'ifr_hwaddr'],
  ]),
]);

/** A field, or where the export drops the kernel's prefix, the part of the export's name and the field. */
type Field = string | readonly [string, string];

function struct(prefix: string, type: string, fields: readonly Field[]): [string, string][] {
  return [[`${prefix}_SIZE`, `sizeof(${type})`], ...offsets(prefix, type, fields)];
}

function offsets(prefix: string, type: string, fields: readonly Field[]): [string, string][] {
  return fields.map((field) => {
    const [part, member] = typeof field === 'string' ? [field.toUpperCase(), field] : field;
    return [`${prefix}_${part}_OFFSET`, `offsetof(${type}, ${member})`];
  });
}
