import { VhostError } from '../errors/errors.js';
import { explain } from '../errors/hints.js';

/** A request that not every kernel's vhost-net knows. */
interface OptionalRequest {
  readonly request: RegExp;
  /** Which kernels know it. */
  readonly knownBy: string;
  /**
   * What a kernel answers that does not know it. It looks for an owner first (EPERM), then takes the first 32 bits of
   * the argument for a queue's index (ENOBUFS where there is no such queue), and only then at the request (ENOTTY):
   * vhost_dev_ioctl(), vhost_vring_ioctl(). Listed is what no kernel that knows the request can answer.
   */
  readonly unknown: readonly string[];
}

/** Asked for without an owner and without a queue: whatever is said of either means that the request is not known. */
const OF_THE_DEVICE = ['ENOTTY', 'ENOBUFS', 'EPERM'];
/** No net device has them for any queue or worker; for an owner any kernel may ask. */
const OF_OTHER_DEVICES = ['ENOTTY', 'ENOBUFS'];
/** The queue is looked at in any case. */
const OF_A_QUEUE = ['ENOTTY'];

const optional: readonly OptionalRequest[] = [
  {
    request: /^VHOST_[GS]ET_FEATURES_ARRAY$/,
    knownBy: 'Linux 6.17 and later have it',
    unknown: OF_THE_DEVICE,
  },
  {
    request: /^VHOST_[GS]ET_FORK_FROM_OWNER$/,
    knownBy:
      'Linux 6.17 and later have it, and earlier ones of some distributions, built with CONFIG_VHOST_ENABLE_FORK_OWNER_CONTROL',
    unknown: OF_THE_DEVICE,
  },
  {
    request: /^VHOST_[GS]ET_BACKEND_FEATURES$/,
    knownBy: 'Linux 4.19 and later have it',
    unknown: OF_THE_DEVICE,
  },
  {
    request: /^VHOST_((NEW|FREE)_WORKER|(ATTACH|GET)_VRING_WORKER)$/,
    knownBy: 'Linux 6.5 and later have it, for vhost-scsi; the queues of a net device share the one worker',
    unknown: OF_OTHER_DEVICES,
  },
  {
    request: /^VHOST_[GS]ET_VRING_BUSYLOOP_TIMEOUT$/,
    knownBy: 'Linux 4.6 and later have it',
    unknown: OF_A_QUEUE,
  },
  {
    request: /^VHOST_[GS]ET_VRING_ENDIAN$/,
    knownBy: 'Linux 4.2 and later have it where built with CONFIG_VHOST_CROSS_ENDIAN_LEGACY',
    unknown: OF_A_QUEUE,
  },
];

interface Refusal extends NodeJS.ErrnoException {
  readonly request?: string;
  readonly queue?: number;
}

/** The error for a request that the kernel does not know; `undefined` for any other refusal. */
function unsupported(error: unknown): VhostError | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code = '', request = '', queue } = error as Refusal;
  const found = optional.find((one) => one.request.test(request) && one.unknown.includes(code));
  if (found === undefined) return undefined;
  return new VhostError(
    'ERR_VHOST_UNSUPPORTED',
    `this kernel does not know ${request} for a net device (${code}): ${found.knownBy}`,
    { cause: error, request, queue },
  );
}

/** Makes a request; its refusal is ERR_VHOST_UNSUPPORTED where the kernel lacks it, the kernel's own otherwise. */
export function refusable<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw unsupported(error) ?? explain(error);
  }
}

/** What a request answers, `undefined` where the kernel lacks it. */
export function whereKnown<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if (unsupported(error) !== undefined) return undefined;
    throw explain(error);
  }
}
