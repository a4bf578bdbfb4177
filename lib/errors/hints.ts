/** What is known of a kernel's refusal beyond its code: where it happened, what the cause is, what mends it. */
interface Hint {
  /** `request` of the error, or its `path`. */
  readonly at: string | RegExp;
  readonly code: string;
  readonly hint: string;
}

const NO_WORKER =
  'no worker could be started; where it is a task of this process, RLIMIT_NPROC and pids.max count it (ulimit -u)';

const hints: readonly Hint[] = [
  {
    at: /vhost-net$/,
    code: 'ENOENT',
    hint: 'the module vhost_net is not loaded: modprobe vhost_net, or run in a VM: npm run vm -- COMMAND',
  },
  {
    at: /vhost-net$/,
    code: 'EACCES',
    hint: 'the device belongs to another user or group: join its group (often kvm), or run as root',
  },
  // misc_open() finds no driver under the number of the node, and could load none.
  { at: /vhost-net$/, code: 'ENODEV', hint: 'the node is there but the module is not: modprobe vhost_net' },
  { at: /\/tun$/, code: 'ENOENT', hint: 'the module tun is not loaded: modprobe tun' },
  { at: /\/tun$/, code: 'ENODEV', hint: 'the node is there but the module is not: modprobe tun' },
  { at: /\/tun$/, code: 'EACCES', hint: 'opening /dev/net/tun needs its group or root' },
  {
    at: /\/(vhost-net|tun|tap\d+)$/,
    code: 'EPERM',
    hint: 'the rules of this container or service forbid the device: docker run --device PATH, or DeviceAllow=PATH rw in a unit',
  },
  { at: /\/tap\d+$/, code: 'EACCES', hint: 'a macvtap node belongs to root alone: chown it or run as root' },
  {
    at: 'TUNSETIFF',
    code: 'EPERM',
    hint: 'making a tap needs CAP_NET_ADMIN; or let root make it for this user: ip tuntap add dev NAME mode tap user USER vnet_hdr',
  },
  {
    at: 'TUNSETIFF',
    code: 'EBUSY',
    hint: 'the tap is open already, here or in another process; close that one, or choose another name',
  },
  {
    at: 'TUNSETIFF',
    code: 'EINVAL',
    hint: 'an interface of this name exists that is no tap, or was made with other flags (multi_queue, vnet_hdr)',
  },
  {
    at: 'VHOST_SET_OWNER',
    code: 'EBUSY',
    hint: 'this descriptor has an owner already; open the device anew',
  },
  { at: 'VHOST_SET_OWNER', code: 'EAGAIN', hint: NO_WORKER },
  // As Linux before 6.14 says it.
  { at: 'VHOST_SET_OWNER', code: 'ENOMEM', hint: NO_WORKER },
  {
    at: /^VHOST_/,
    code: 'EPERM',
    hint: 'the device belongs to another process, or VHOST_SET_OWNER has not been called; Workers may share it, child processes may not',
  },
  {
    at: /^VHOST_/,
    code: 'ENOBUFS',
    hint: 'the device has no such queue; 0 receives, 1 transmits',
  },
  {
    at: /^VHOST_SET_FEATURES(_ARRAY)?$/,
    code: 'EOPNOTSUPP',
    hint: 'a feature bit is not among those of VHOST_GET_FEATURES; checksum and segment offload are agreed at the tap',
  },
  {
    at: /^VHOST_SET_FEATURES(_ARRAY)?$/,
    code: 'EFAULT',
    hint: 'VHOST_F_LOG_ALL needs a log within reach while a queue runs; VHOST_SET_LOG_BASE comes first',
  },
  {
    at: 'VHOST_SET_BACKEND_FEATURES',
    code: 'EOPNOTSUPP',
    hint: 'a backend feature bit is not among those of VHOST_GET_BACKEND_FEATURES',
  },
  {
    at: 'VHOST_SET_FORK_FROM_OWNER',
    code: 'EBUSY',
    hint: 'the worker runs already; choose before VHOST_SET_OWNER',
  },
  { at: 'VHOST_SET_FORK_FROM_OWNER', code: 'EINVAL', hint: '0 is a kernel thread, 1 a task of the owner' },
  {
    at: 'VHOST_SET_MEM_TABLE',
    code: 'E2BIG',
    hint: 'more regions than /sys/module/vhost/parameters/max_mem_regions',
  },
  {
    at: 'VHOST_SET_MEM_TABLE',
    code: 'EFAULT',
    hint: 'a region is empty, or its user addresses are out of reach',
  },
  {
    at: 'VHOST_SET_LOG_BASE',
    code: 'EFAULT',
    hint: 'the log is out of reach, and a queue runs that writes to it',
  },
  {
    at: 'VHOST_SET_VRING_NUM',
    code: 'EINVAL',
    hint: 'a ring has a power of two of descriptors, up to 32768',
  },
  { at: 'VHOST_SET_VRING_ENDIAN', code: 'EINVAL', hint: '0 is little-endian, 1 big-endian' },
  { at: 'VHOST_SET_VRING_BASE', code: 'EINVAL', hint: 'an index of a ring has 16 bits' },
  {
    at: 'VHOST_SET_VRING_ADDR',
    code: 'EINVAL',
    hint: 'the available ring lies on a multiple of 2, the used ring and the log of 4; or a part is out of reach while the queue runs',
  },
  {
    at: 'VHOST_SET_VRING_ADDR',
    code: 'EOPNOTSUPP',
    hint: 'the one flag there is is bit VHOST_VRING_F_LOG',
  },
  {
    at: /^VHOST_SET_(VRING_(KICK|CALL|ERR)|LOG_FD)$/,
    code: 'EINVAL',
    hint: 'the descriptor is no eventfd',
  },
  {
    at: 'VHOST_NET_SET_BACKEND',
    code: 'ENOTSOCK',
    hint: 'the descriptor is no packet socket, tap or macvtap',
  },
  {
    at: 'VHOST_NET_SET_BACKEND',
    code: 'EFAULT',
    hint: 'a ring or the log cannot be reached, or VHOST_SET_MEM_TABLE has not been called',
  },
  {
    at: 'VHOST_NET_SET_BACKEND',
    code: 'EINVAL',
    hint: 'the tap is not attached to an interface, or its interface is gone',
  },
  {
    at: /^VHOST_IOTLB_(UPDATE|INVALIDATE)$/,
    code: 'EFAULT',
    hint: 'VIRTIO_F_ACCESS_PLATFORM is not agreed, or the user addresses are out of reach',
  },
  {
    at: /^VHOST_SET_VRING_(NUM|BASE|ENDIAN)$/,
    code: 'EBUSY',
    hint: 'the queue has a backend; detach it first (VHOST_NET_SET_BACKEND with -1)',
  },
];

/** Adds a `hint` to a kernel's refusal where its cause is known; returns the same error. */
export function explain(error: unknown): unknown {
  if (!(error instanceof Error) || 'hint' in error) return error;
  const { code, request, path } = error as NodeJS.ErrnoException & { request?: string };
  const found = hints.find(
    ({ at, code: wanted }) =>
      wanted === code &&
      [request, path].some(
        (place) => place !== undefined && (at instanceof RegExp ? at.test(place) : at === place),
      ),
  );
  return found === undefined ? error : addHint(error, found.hint);
}

/** Adds a hint to an error that has none; returns the same error. */
export function addHint(error: Error, hint: string): Error {
  if ('hint' in error) return error;
  Object.defineProperty(error, 'hint', { value: hint, enumerable: true });
  error.message += ` (${hint})`;
  return error;
}
