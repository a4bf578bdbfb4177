/**
 * What this package asks of the operating system, one method per request. `native/` implements it on a
 * Linux host (see host.ts); tests inject another. Every method checks the types of its arguments, makes one
 * call and throws a refusal Node-shaped: `code` ('EBUSY'), `errno` (negative), `syscall`, and for an ioctl
 * `request` (the kernel's name) and `queue` (where one was given).
 *
 * A descriptor that one of these methods returns belongs to this environment (main thread or Worker) and is
 * closed with it, vhost devices first and memory last, should the program end without closing it.
 */
export interface Kernel {
  readonly vhost: VhostSurface;
  readonly tun: TunSurface;
  readonly packet: PacketSurface;
  readonly netdev: NetdevSurface;
  readonly eventfd: EventfdSurface;
  readonly memory: MemorySurface;
  readonly poller: PollerSurface;
  readonly passing: PassingSurface;
  readonly frames: FramesSurface;
  readonly descriptor: DescriptorSurface;
  readonly files: FilesSurface;
}

/** One region of `struct vhost_memory_region`. */
export interface MemoryTableEntry {
  readonly guestPhysicalAddress: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
}

/** `struct vhost_vring_addr` without its index: user addresses of the three parts of a split ring. */
export interface VringAddresses {
  readonly flags: number;
  readonly descriptorTable: bigint;
  readonly availableRing: bigint;
  readonly usedRing: bigint;
  /** Guest physical address under which writes to the used ring are logged; read with VHOST_VRING_F_LOG. */
  readonly log: bigint;
}

/** The requests of `<linux/vhost.h>` for a net device; `fd` is an open /dev/vhost-net. */
export interface VhostSurface {
  /** open(2), O_RDWR | O_CLOEXEC | O_NONBLOCK. */
  open(path: string): number;
  /** VHOST_GET_FEATURES. */
  getFeatures(fd: number): bigint;
  /** VHOST_SET_FEATURES. */
  setFeatures(fd: number, features: bigint): void;
  /** VHOST_GET_FEATURES_ARRAY; `words` u64 words are asked for. */
  getFeaturesArray(fd: number, words: number): bigint[];
  /** VHOST_SET_FEATURES_ARRAY. */
  setFeaturesArray(fd: number, words: readonly bigint[]): void;
  /** VHOST_SET_OWNER. */
  setOwner(fd: number): void;
  /** VHOST_RESET_OWNER. */
  resetOwner(fd: number): void;
  /** VHOST_SET_MEM_TABLE. */
  setMemTable(fd: number, regions: readonly MemoryTableEntry[]): void;
  /** VHOST_SET_LOG_BASE; user address of the bitmap. */
  setLogBase(fd: number, address: bigint): void;
  /** VHOST_SET_LOG_FD; an eventfd signalled when a page is logged, -1 for none. */
  setLogFd(fd: number, logFd: number): void;
  /** VHOST_SET_VRING_NUM. */
  setVringNum(fd: number, queue: number, size: number): void;
  /** VHOST_SET_VRING_ADDR. */
  setVringAddr(fd: number, queue: number, addresses: VringAddresses): void;
  /** VHOST_SET_VRING_BASE. */
  setVringBase(fd: number, queue: number, base: number): void;
  /** VHOST_GET_VRING_BASE. */
  getVringBase(fd: number, queue: number): number;
  /** VHOST_SET_VRING_ENDIAN: 0 little, 1 big. */
  setVringEndian(fd: number, queue: number, endian: number): void;
  /** VHOST_GET_VRING_ENDIAN. */
  getVringEndian(fd: number, queue: number): number;
  /** VHOST_SET_VRING_KICK; an eventfd, -1 for none. */
  setVringKick(fd: number, queue: number, eventFd: number): void;
  /** VHOST_SET_VRING_CALL; an eventfd, -1 for none. */
  setVringCall(fd: number, queue: number, eventFd: number): void;
  /** VHOST_SET_VRING_ERR; an eventfd, -1 for none. */
  setVringErr(fd: number, queue: number, eventFd: number): void;
  /** VHOST_SET_VRING_BUSYLOOP_TIMEOUT, microseconds. */
  setVringBusyloopTimeout(fd: number, queue: number, microseconds: number): void;
  /** VHOST_GET_VRING_BUSYLOOP_TIMEOUT, microseconds. */
  getVringBusyloopTimeout(fd: number, queue: number): number;
  /** VHOST_SET_BACKEND_FEATURES. */
  setBackendFeatures(fd: number, features: bigint): void;
  /** VHOST_GET_BACKEND_FEATURES. */
  getBackendFeatures(fd: number): bigint;
  /** VHOST_NEW_WORKER; the id of the worker. */
  newWorker(fd: number): number;
  /** VHOST_FREE_WORKER. */
  freeWorker(fd: number, worker: number): void;
  /** VHOST_ATTACH_VRING_WORKER. */
  attachVringWorker(fd: number, queue: number, worker: number): void;
  /** VHOST_GET_VRING_WORKER; the id of the worker. */
  getVringWorker(fd: number, queue: number): number;
  /** VHOST_SET_FORK_FROM_OWNER: 1 a task of the owner, 0 a kernel thread. */
  setForkFromOwner(fd: number, value: number): void;
  /** VHOST_GET_FORK_FROM_OWNER. */
  getForkFromOwner(fd: number): number;
  /** VHOST_NET_SET_BACKEND; -1 detaches and may block until outstanding zero-copy frames are done. */
  netSetBackend(fd: number, queue: number, backendFd: number): void;
  /** VHOST_NET_SET_BACKEND with -1 on a thread of the pool, so that the wait does not hold the loop. */
  netDetachBackend(fd: number, queue: number): Promise<void>;
}

/** TUN/TAP requests of `<linux/if_tun.h>`; macvtap and ipvtap answer to most of them too. */
export interface TunSurface {
  /** open(2) of /dev/net/tun or /dev/tapN, in the network namespace `netns` (a path such as /proc/1/ns/net). */
  open(path: string, netns?: string): number;
  /** TUNGETFEATURES. */
  getFeatures(fd: number): number;
  /** TUNSETIFF; the name that the kernel gave. */
  setIff(fd: number, name: string, flags: number): string;
  /** TUNGETIFF. */
  getIff(fd: number): { name: string; flags: number };
  /** TUNSETOFFLOAD: TUN_F_* bits. */
  setOffload(fd: number, offload: number): void;
  /** TUNSETVNETHDRSZ, bytes. */
  setVnetHdrSz(fd: number, bytes: number): void;
  /** TUNGETVNETHDRSZ, bytes. */
  getVnetHdrSz(fd: number): number;
  /** TUNSETVNETLE: 1 makes the header little-endian whatever the host is. */
  setVnetLe(fd: number, value: number): void;
  /** TUNSETPERSIST: 1 keeps the interface when its last descriptor closes. */
  setPersist(fd: number, value: number): void;
  /** TUNSETOWNER, a user id. */
  setOwner(fd: number, uid: number): void;
  /** TUNSETGROUP, a group id. */
  setGroup(fd: number, gid: number): void;
  /** TUNSETSNDBUF, bytes. */
  setSndBuf(fd: number, bytes: number): void;
  /** TUNGETSNDBUF, bytes. */
  getSndBuf(fd: number): number;
  /** TUNSETQUEUE with IFF_ATTACH_QUEUE or IFF_DETACH_QUEUE. */
  setQueue(fd: number, flags: number): void;
  /** TUNSETCARRIER: 1 on, 0 off. */
  setCarrier(fd: number, value: number): void;
  /** TUNGETDEVNETNS, a descriptor of the network namespace that the interface is in. A macvtap refuses with EINVAL. */
  getDevNetns(fd: number): number;
}

/** AF_PACKET sockets, `<linux/if_packet.h>`. */
export interface PacketSurface {
  /** socket(2) AF_PACKET, SOCK_RAW, in the network namespace `netns`; not bound, receives nothing yet. */
  open(netns?: string): number;
  /** PACKET_VNET_HDR_SZ (PACKET_VNET_HDR where a kernel lacks it and `bytes` is 10); 0 for none. */
  setVnetHdrSz(fd: number, bytes: number): void;
  /** PACKET_VNET_HDR_SZ, bytes; 0 for none. */
  getVnetHdrSz(fd: number): number;
  /** PACKET_QDISC_BYPASS. */
  setQdiscBypass(fd: number, value: number): void;
  /** PACKET_ADD_MEMBERSHIP with PACKET_MR_PROMISC. */
  addPromiscuous(fd: number, interfaceIndex: number): void;
  /** PACKET_IGNORE_OUTGOING: 1 hides the frames that the host itself sends. */
  setIgnoreOutgoing(fd: number, value: number): void;
  /** bind(2) to an interface and a protocol (ETH_P_ALL 0x0003, host order). */
  bind(fd: number, interfaceIndex: number, protocol: number): void;
  /** getsockopt SO_DOMAIN, SO_TYPE and getsockname(2). */
  describe(fd: number): { domain: number; type: number; interfaceIndex: number; protocol: number };
}

/** Network interfaces by name: the SIOC* requests of netdevice(7). */
export interface NetdevSurface {
  /** socket(2) in the network namespace `netns`; the following methods act on that namespace. */
  open(netns?: string): number;
  /**
   * socket(2) AF_NETLINK of the group RTMGRP_LINK in the network namespace `netns`: a read(2) takes one message for
   * each interface that is made, changed or removed there.
   */
  watch(netns?: string): number;
  /** SIOCGIFINDEX. */
  getIndex(fd: number, name: string): number;
  /** SIOCGIFNAME. */
  getName(fd: number, index: number): string;
  /** SIOCGIFFLAGS. */
  getFlags(fd: number, name: string): number;
  /** SIOCSIFFLAGS. */
  setFlags(fd: number, name: string, flags: number): void;
  /** SIOCGIFMTU. */
  getMtu(fd: number, name: string): number;
  /** SIOCSIFMTU. */
  setMtu(fd: number, name: string, mtu: number): void;
  /** SIOCGIFHWADDR, six bytes. */
  getHardwareAddress(fd: number, name: string): Uint8Array;
  /** SIOCSIFHWADDR, six bytes. */
  setHardwareAddress(fd: number, name: string, address: Uint8Array): void;
}

/** eventfd(2): the notifications of a vring. */
export interface EventfdSurface {
  /** A non-blocking, close-on-exec eventfd that starts at 0. */
  create(): number;
  /**
   * Adds 1, or leaves a counter full that is. Does not wait, though others who share the file make it blocking. EINVAL: no
   * eventfd.
   */
  signal(fd: number): void;
  /** Takes the count, 0 where nothing was signalled; does not wait either. */
  take(fd: number): number;
}

/** A mapping that stays where it is until `unmap`, whatever the garbage collector does. */
export interface Mapping {
  /** The memfd behind the mapping; -1 for a mapping of a caller's descriptor. */
  readonly fd: number;
  /** User address: what vhost is told. */
  readonly address: bigint;
  readonly buffer: ArrayBuffer;
}

export interface MemorySurface {
  /** sysconf(_SC_PAGESIZE). */
  pageSize(): number;
  /**
   * memfd_create(2), sealed against shrinking, mapped shared and zeroed. `size` is a multiple of the page
   * size; `hugePageSize` (bytes, 0 for none) asks for MFD_HUGETLB pages of that size.
   */
  create(name: string, size: number, hugePageSize: number): Mapping;
  /**
   * mmap(2) of `size` bytes of a descriptor from `offset`, shared; `offset` need not be a multiple of a page. A size
   * beyond the end of a file is refused. Where a file is cut short later, the kernel that reaches for what is gone is refused
   * with EFAULT; at this process's first touch, the whole mapping becomes zeroed memory of its own.
   */
  map(fd: number, offset: number, size: number): Mapping;
  /** Detaches the buffer (its views read as length 0 from then on), then munmap(2); closes a memfd of `create`. */
  unmap(mapping: Mapping): void;
}

/** A watch on a descriptor in this environment's loop (uv_poll). */
export interface Poller {
  /** Ends the watch; no callback runs after it. The descriptor may be closed at once. Idempotent. */
  close(): void;
  /** Lets the loop live for this watch (as it does from the start). */
  ref(): void;
  /** The loop may end with this watch still open. */
  unref(): void;
}

export interface PollerSurface {
  /** Calls back with the count taken from an eventfd, once each time it was signalled. */
  watchEventfd(fd: number, callback: (count: number) => void): Poller;
  /** Calls back while a descriptor is readable; `error` is true where the watch itself reports one. */
  watchReadable(fd: number, callback: (error: boolean) => void): Poller;
  /** Calls back while a descriptor can be written; as `watchReadable`. */
  watchWritable(fd: number, callback: (error: boolean) => void): Poller;
}

/** What a `receive` took. */
export interface Received {
  /** Bytes taken; 0 at the end of the stream. */
  readonly size: number;
  /** Descriptors that came with them; this environment owns them. */
  readonly fds: readonly number[];
}

/** Who is at the other end of a unix socket. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** unix(7) stream sockets, which pass descriptors; non-blocking and close-on-exec. */
export interface PassingSurface {
  /**
   * socket(2), bind(2) and listen(2). The file at `path` (1 to 107 bytes) never has more permission bits than `mode`
   * less the umask, and outlives the socket.
   */
  listen(path: string, mode: number, backlog: number): number;
  /** accept4(2); EAGAIN where nobody waits. */
  accept(fd: number): number;
  /** socket(2) and connect(2); EAGAIN where the listener's backlog is full. */
  connect(path: string): number;
  /** socketpair(2). */
  pair(): [number, number];
  /**
   * sendmsg(2) with up to 253 descriptors as SCM_RIGHTS; bytes sent. The descriptors go with the first of them, so not
   * where EAGAIN says that the socket takes none now.
   */
  send(fd: number, bytes: Uint8Array, fds: readonly number[]): number;
  /**
   * recvmsg(2). Bytes of one message that carried descriptors are never followed by those of the next in one call, but
   * may follow those of messages that carried none. EMFILE: the process may not have so many descriptors; those that
   * came are closed.
   */
  receive(fd: number, buffer: Uint8Array): Received;
  /** SO_PEERCRED: who made the other end, or listened. */
  peerCredentials(fd: number): PeerCredentials;
}

/**
 * Frames to and from descriptors, many in a call. `pieces` has two numbers for each piece of memory, its user address and
 * its bytes; chain i is made of those from `ends[i - 1]` to `ends[i]`. Chains `first` to `count` are tried. A refusal is
 * no error here but a negative errno among the results.
 */
export interface FramesSurface {
  /**
   * writev(2) of each chain, without its first `skip` bytes, up to the first that is refused; its index, `count` where none
   * was. `results` has the bytes of each chain that was tried.
   */
  write(
    fd: number,
    pieces: Float64Array,
    ends: Uint32Array,
    results: Int32Array,
    first: number,
    count: number,
    skip: number,
  ): number;
  /**
   * readv(2) of one frame after another, each into the chains that follow those of the frame before, from their `skip`-th
   * byte on: so many that they hold `need` bytes if there are, and one at least. What is longer goes on in the piece after
   * those of the last chain. Ends where that was needed, at a refusal, at the end of a stream (0 bytes) and where there are
   * no more chains; how many were tried. `results` has two numbers for each: bytes, and the chains that they took,
   * negative for a frame that goes on beyond them.
   */
  read(
    fd: number,
    pieces: Float64Array,
    ends: Uint32Array,
    results: Int32Array,
    first: number,
    count: number,
    skip: number,
    need: number,
  ): number;
  /** fcntl(2) F_SETFL with O_NONBLOCK, for all who share the file description. */
  setNonBlocking(fd: number): void;
  /** socketpair(2) of SOCK_SEQPACKET: what is written to one end is read at the other, frame by frame. */
  pair(): [number, number];
}

/** What is true of any descriptor. */
export interface DescriptorSurface {
  /** close(2), of a descriptor that this environment owns; another is refused with EBADF. */
  close(fd: number): void;
  /** fcntl(F_DUPFD_CLOEXEC): a copy that this environment owns. */
  duplicate(fd: number): number;
  /** fstat(2): the S_IFMT part of the mode, and the device a device node stands for. */
  stat(fd: number): { type: number; major: number; minor: number };
  /** read(2); bytes read. */
  read(fd: number, buffer: Uint8Array): number;
  /** write(2); bytes written. */
  write(fd: number, buffer: Uint8Array): number;
}

/** Small files that the kernel keeps, under /sys and /proc. */
export interface FilesSurface {
  /** The text of a file, `undefined` where there is none or it may not be read. */
  read(path: string): string | undefined;
  /** The names in a folder, none where there is no such folder or it may not be read. */
  list(path: string): readonly string[];
  /** What a symbolic link says (readlink(2)), `undefined` where there is none or it may not be read. */
  link(path: string): string | undefined;
}
