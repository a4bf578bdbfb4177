/**
 * Every error that this package makes itself. A kernel's refusal is not among them: it comes from the kernel
 * interface Node-shaped ('EBUSY', `syscall`, `request`) and at most gains a hint here.
 */

/** Codes of the errors that this package makes itself. */
export type VhostErrorCode =
  /** An argument has the wrong type or shape. */
  | 'ERR_VHOST_INVALID_ARGUMENT'
  /** An argument has the right type but a value that its rule forbids. */
  | 'ERR_VHOST_OUT_OF_RANGE'
  /** The handle was closed. */
  | 'ERR_VHOST_CLOSED'
  /** Nothing more can be queued now; wait, or take what is done. */
  | 'ERR_VHOST_QUEUE_FULL'
  /** A virtio-net header that the kernel's worker would stumble over. */
  | 'ERR_VHOST_BAD_HEADER'
  /** The device wrote something into the used ring that cannot be true. */
  | 'ERR_VHOST_RING_CORRUPT'
  /** The device reported an error on a queue. */
  | 'ERR_VHOST_QUEUE_ERROR'
  /** The device wants access to an address that its IOMMU does not allow it. */
  | 'ERR_VHOST_IOTLB_FAULT'
  /** The device sent a message that is none. */
  | 'ERR_VHOST_BAD_MESSAGE'
  /** The interface behind a queue is gone. */
  | 'ERR_VHOST_BACKEND_GONE'
  /** This kernel, device or backend lacks what was asked for. */
  | 'ERR_VHOST_UNSUPPORTED'
  /** A buffer was returned twice or is not this pool's. */
  | 'ERR_VHOST_NOT_LEASED'
  /** Something else still uses what was to be closed or taken. */
  | 'ERR_VHOST_IN_USE'
  /** The queue pair takes no frames, because `disable` was called. */
  | 'ERR_VHOST_DISABLED'
  /** The peer at the other end of a socket broke its protocol; the connection is closed. */
  | 'ERR_VHOST_PROTOCOL'
  /** The native part could not be loaded. */
  | 'ERR_VHOST_ADDON';

/** What an error may say beside its message. */
export interface VhostErrorDetails {
  /** The queue it happened on: 0 receive, 1 transmit. */
  readonly queue?: number | undefined;
  /** The kernel's name of the request that it stands for. */
  readonly request?: string | undefined;
  readonly cause?: unknown;
}

/** The part that this package's errors have in common, whichever standard class they extend. */
export interface VhostErrorLike extends Error {
  readonly code: VhostErrorCode;
  readonly queue?: number | undefined;
  /** The queue pair of a `Nic` that it happened in, by its index. */
  readonly pair?: number | undefined;
  readonly request?: string | undefined;
}

function decorate(error: Error, name: string, code: VhostErrorCode, details: VhostErrorDetails): void {
  Object.defineProperty(error, 'name', { value: `${name} [${code}]`, configurable: true, writable: true });
  Object.defineProperty(error, 'code', { value: code, enumerable: true });
  for (const detail of ['request', 'queue'] as const)
    if (details[detail] !== undefined)
      Object.defineProperty(error, detail, { value: details[detail], enumerable: true });
}

/** A state or a device that refuses, where the argument is not at fault. */
export class VhostError extends Error implements VhostErrorLike {
  declare readonly code: VhostErrorCode;
  declare readonly queue?: number;
  declare readonly pair?: number;
  declare readonly request?: string;
  constructor(code: VhostErrorCode, message: string, details: VhostErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    decorate(this, 'VhostError', code, details);
  }
}

/** Says of any error in which queue pair it happened; returns the same error. */
export function tellPair<T>(error: T, pair: number): T {
  if (error instanceof Error && !('pair' in error))
    Object.defineProperty(error, 'pair', { value: pair, enumerable: true });
  return error;
}

/** An argument of the wrong type or shape. */
export class VhostTypeError extends TypeError implements VhostErrorLike {
  declare readonly code: VhostErrorCode;
  constructor(message: string) {
    super(message);
    decorate(this, 'TypeError', 'ERR_VHOST_INVALID_ARGUMENT', {});
  }
}

/** An argument whose value its rule forbids. */
export class VhostRangeError extends RangeError implements VhostErrorLike {
  declare readonly code: VhostErrorCode;
  declare readonly queue?: number;
  declare readonly request?: string;
  constructor(
    message: string,
    code: VhostErrorCode = 'ERR_VHOST_OUT_OF_RANGE',
    details: Omit<VhostErrorDetails, 'cause'> = {},
  ) {
    super(message);
    decorate(this, 'RangeError', code, details);
  }
}
