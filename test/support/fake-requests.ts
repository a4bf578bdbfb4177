/** What the native part says about a refused call: the system call, the request, which argument is a queue. */
export interface RequestName {
  readonly syscall: string;
  readonly request?: string;
  /** Index among the arguments. */
  readonly queue?: number;
  /** Index among the arguments. */
  readonly path?: number;
}

function ioctl(request: string): RequestName {
  return { syscall: 'ioctl', request };
}

function vring(request: string): RequestName {
  return { syscall: 'ioctl', request, queue: 1 };
}

function option(request: string): RequestName {
  return { syscall: 'setsockopt', request };
}

/** Every method of the kernel interface that can refuse, by `surface.method`. */
export const requests: Readonly<Record<string, RequestName>> = {
  'vhost.open': { syscall: 'open', path: 0 },
  'vhost.getFeatures': ioctl('VHOST_GET_FEATURES'),
  'vhost.setFeatures': ioctl('VHOST_SET_FEATURES'),
  'vhost.getFeaturesArray': ioctl('VHOST_GET_FEATURES_ARRAY'),
  'vhost.setFeaturesArray': ioctl('VHOST_SET_FEATURES_ARRAY'),
  'vhost.setOwner': ioctl('VHOST_SET_OWNER'),
  'vhost.resetOwner': ioctl('VHOST_RESET_OWNER'),
  'vhost.setMemTable': ioctl('VHOST_SET_MEM_TABLE'),
  'vhost.setLogBase': ioctl('VHOST_SET_LOG_BASE'),
  'vhost.setLogFd': ioctl('VHOST_SET_LOG_FD'),
  'vhost.setVringNum': vring('VHOST_SET_VRING_NUM'),
  'vhost.setVringAddr': vring('VHOST_SET_VRING_ADDR'),
  'vhost.setVringBase': vring('VHOST_SET_VRING_BASE'),
  'vhost.getVringBase': vring('VHOST_GET_VRING_BASE'),
  'vhost.setVringEndian': vring('VHOST_SET_VRING_ENDIAN'),
  'vhost.getVringEndian': vring('VHOST_GET_VRING_ENDIAN'),
  'vhost.setVringKick': vring('VHOST_SET_VRING_KICK'),
  'vhost.setVringCall': vring('VHOST_SET_VRING_CALL'),
  'vhost.setVringErr': vring('VHOST_SET_VRING_ERR'),
  'vhost.setVringBusyloopTimeout': vring('VHOST_SET_VRING_BUSYLOOP_TIMEOUT'),
  'vhost.getVringBusyloopTimeout': vring('VHOST_GET_VRING_BUSYLOOP_TIMEOUT'),
  'vhost.setBackendFeatures': ioctl('VHOST_SET_BACKEND_FEATURES'),
  'vhost.getBackendFeatures': ioctl('VHOST_GET_BACKEND_FEATURES'),
  'vhost.newWorker': ioctl('VHOST_NEW_WORKER'),
  'vhost.freeWorker': ioctl('VHOST_FREE_WORKER'),
  'vhost.attachVringWorker': vring('VHOST_ATTACH_VRING_WORKER'),
  'vhost.getVringWorker': vring('VHOST_GET_VRING_WORKER'),
  'vhost.setForkFromOwner': ioctl('VHOST_SET_FORK_FROM_OWNER'),
  'vhost.getForkFromOwner': ioctl('VHOST_GET_FORK_FROM_OWNER'),
  'vhost.netSetBackend': vring('VHOST_NET_SET_BACKEND'),
  'vhost.netDetachBackend': vring('VHOST_NET_SET_BACKEND'),

  'tun.open': { syscall: 'open', path: 0 },
  'tun.getFeatures': ioctl('TUNGETFEATURES'),
  'tun.setIff': ioctl('TUNSETIFF'),
  'tun.getIff': ioctl('TUNGETIFF'),
  'tun.setOffload': ioctl('TUNSETOFFLOAD'),
  'tun.setVnetHdrSz': ioctl('TUNSETVNETHDRSZ'),
  'tun.getVnetHdrSz': ioctl('TUNGETVNETHDRSZ'),
  'tun.setVnetLe': ioctl('TUNSETVNETLE'),
  'tun.setPersist': ioctl('TUNSETPERSIST'),
  'tun.setOwner': ioctl('TUNSETOWNER'),
  'tun.setGroup': ioctl('TUNSETGROUP'),
  'tun.setSndBuf': ioctl('TUNSETSNDBUF'),
  'tun.getSndBuf': ioctl('TUNGETSNDBUF'),
  'tun.setQueue': ioctl('TUNSETQUEUE'),
  'tun.setCarrier': ioctl('TUNSETCARRIER'),
  'tun.getDevNetns': ioctl('TUNGETDEVNETNS'),

  'packet.open': { syscall: 'socket' },
  'packet.setVnetHdrSz': option('PACKET_VNET_HDR_SZ'),
  'packet.getVnetHdrSz': { syscall: 'getsockopt', request: 'PACKET_VNET_HDR_SZ' },
  'packet.setQdiscBypass': option('PACKET_QDISC_BYPASS'),
  'packet.addPromiscuous': option('PACKET_ADD_MEMBERSHIP'),
  'packet.setIgnoreOutgoing': option('PACKET_IGNORE_OUTGOING'),
  'packet.bind': { syscall: 'bind' },
  'packet.describe': { syscall: 'getsockopt', request: 'SO_DOMAIN' },

  'netdev.open': { syscall: 'socket' },
  'netdev.watch': { syscall: 'socket', request: 'NETLINK_ROUTE' },
  'netdev.getIndex': ioctl('SIOCGIFINDEX'),
  'netdev.getName': ioctl('SIOCGIFNAME'),
  'netdev.getFlags': ioctl('SIOCGIFFLAGS'),
  'netdev.setFlags': ioctl('SIOCSIFFLAGS'),
  'netdev.getMtu': ioctl('SIOCGIFMTU'),
  'netdev.setMtu': ioctl('SIOCSIFMTU'),
  'netdev.getHardwareAddress': ioctl('SIOCGIFHWADDR'),
  'netdev.setHardwareAddress': ioctl('SIOCSIFHWADDR'),

  'eventfd.create': { syscall: 'eventfd' },
  'eventfd.signal': { syscall: 'write' },
  'eventfd.take': { syscall: 'read' },

  'memory.create': { syscall: 'memfd_create' },
  'memory.map': { syscall: 'mmap' },
  'memory.unmap': { syscall: 'munmap' },

  'poller.watchEventfd': { syscall: 'epoll_ctl' },
  'poller.watchReadable': { syscall: 'epoll_ctl' },
  'poller.watchWritable': { syscall: 'epoll_ctl' },

  'passing.listen': { syscall: 'bind', path: 0 },
  'passing.accept': { syscall: 'accept4' },
  'passing.connect': { syscall: 'connect', path: 0 },
  'passing.pair': { syscall: 'socketpair' },
  'passing.send': { syscall: 'sendmsg' },
  'passing.receive': { syscall: 'recvmsg' },
  'passing.peerCredentials': { syscall: 'getsockopt', request: 'SO_PEERCRED' },

  'frames.write': { syscall: 'writev' },
  'frames.read': { syscall: 'readv' },
  'frames.setNonBlocking': { syscall: 'fcntl' },
  'frames.pair': { syscall: 'socketpair' },

  'descriptor.close': { syscall: 'close' },
  'descriptor.duplicate': { syscall: 'fcntl' },
  'descriptor.stat': { syscall: 'fstat' },
  'descriptor.read': { syscall: 'read' },
  'descriptor.write': { syscall: 'write' },
};
