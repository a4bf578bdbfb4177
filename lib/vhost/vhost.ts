import type { LinkState } from '../backend/backend.js';
import type { VhostError } from '../errors/errors.js';
import type { Poller, VringAddresses } from '../kernel/kernel.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { IotlbMiss, IotlbRequest } from './iotlb-message.js';
import type { KernelWorker } from './kernel-worker.js';

/** A device in this process answers at once, one behind a socket later. */
export type Awaitable<T> = T | Promise<T>;

/** A dirty log as a file. */
export interface LogFile {
  readonly fd: number;
  /** Where in it the log begins; 0 by default. */
  readonly offset?: number;
  /** Bytes. */
  readonly size: number;
}

/** Memory in a file in which the heads in flight of queues are noted (QEMU, vhost-user.rst, "Inflight I/O tracking"). */
export interface InflightFile {
  readonly fd: number;
  /** Where in it the memory begins. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

/** What a device's IOTLB tells of. */
export interface IotlbEvents {
  /** An address that the device cannot translate. */
  missed(miss: IotlbMiss): void;
  /** No message can be read: ERR_VHOST_BAD_MESSAGE, or a refusal of the kernel. */
  failed(error: VhostError): void;
}

/**
 * The control plane of a vhost net device, one method per request, in the order in which a device is set up. The
 * kernel's device answers to it, and so can any other; a `Nic` is made of nothing else.
 */
export interface Vhost {
  /** VHOST_GET_FEATURES: every feature bit that can be agreed. */
  getFeatures(): Awaitable<bigint>;
  /** VHOST_SET_FEATURES: agrees on feature bits, all of them offered. */
  setFeatures(features: bigint): Awaitable<void>;
  /** VHOST_GET_BACKEND_FEATURES: VHOST_BACKEND_F_* bits that can be agreed, where the device has any. */
  getBackendFeatures?(): Awaitable<bigint>;
  /** VHOST_SET_BACKEND_FEATURES: agrees on VHOST_BACKEND_F_* bits, all of them offered. */
  setBackendFeatures?(features: bigint): Awaitable<void>;
  /**
   * VHOST_SET_FORK_FROM_OWNER: before `setOwner`, whether the kernel's worker will be a task of the owner (1) or a kernel
   * thread (0); for devices that have one.
   */
  setForkFromOwner?(value: number): Awaitable<void>;
  /** VHOST_SET_OWNER: the device belongs to this process from now on. */
  setOwner(): Awaitable<void>;
  /** VHOST_RESET_OWNER: leaves the device as it was when it was opened, where it can be. */
  resetOwner?(): Awaitable<void>;
  /** The kernel's worker that serves the queues, where one does and shows; to pin it, and to read its CPU time. */
  worker?(): Awaitable<KernelWorker | undefined>;
  /** VHOST_SET_MEM_TABLE: all that the device may reach. The memory cannot be unmapped before `close`. */
  setMemTable(memory: GuestMemory): Awaitable<void>;
  /**
   * VHOST_SET_LOG_BASE: user address of the dirty log, one bit for each 4 KiB of guest physical memory; and, for a device
   * that is not the kernel's, the memfd that has it.
   */
  setLogBase(address: bigint, file?: LogFile): Awaitable<void>;
  /** VHOST_SET_LOG_FD: an eventfd signalled with each page logged, -1 for none. */
  setLogFd(logFd: number): Awaitable<void>;
  /** VHOST_SET_VRING_NUM: descriptors, a power of two up to 32,768. */
  setVringNum(queue: number, size: number): Awaitable<void>;
  /** VHOST_SET_VRING_BASE: the available index at which the device begins. */
  setVringBase(queue: number, base: number): Awaitable<void>;
  /** VHOST_GET_VRING_BASE: the available index that the device would take next. */
  getVringBase(queue: number): Awaitable<number>;
  /** VHOST_SET_VRING_ADDR: user addresses of the ring's parts. */
  setVringAddr(queue: number, addresses: VringAddresses): Awaitable<void>;
  /**
   * For a driver that outlives the device, and only of a device that may return chains out of order: where it notes the
   * heads that it has of a queue, `start` bytes behind the beginning. Those that a device before it noted it takes first.
   * Without a file it returns all in the order in which it took them, so that the used index alone says where to go on.
   */
  setVringInflight?(queue: number, file: InflightFile | undefined, start: number): Awaitable<void>;
  /** VHOST_SET_VRING_KICK: the eventfd by which the driver wakes the device, -1 for polling. */
  setVringKick(queue: number, eventFd: number): Awaitable<void>;
  /** VHOST_SET_VRING_CALL: the eventfd by which the device wakes the driver, -1 for none. */
  setVringCall(queue: number, eventFd: number): Awaitable<void>;
  /** VHOST_SET_VRING_ERR: the eventfd by which the device reports an error on the queue, -1 for none. */
  setVringErr(queue: number, eventFd: number): Awaitable<void>;
  /** VHOST_SET_VRING_BUSYLOOP_TIMEOUT: microseconds the device polls before it sleeps, 0 for none. */
  setVringBusyloopTimeout(queue: number, microseconds: number): Awaitable<void>;
  /** VHOST_NET_SET_BACKEND: starts the queue on a backend's descriptor, or moves it to another one. */
  setBackend(queue: number, backendFd: number): Awaitable<void>;
  /** VHOST_NET_SET_BACKEND with -1: stops the queue; resolves when the device has let go of every buffer. */
  detachBackend(queue: number): Promise<void>;
  /** When the device is done with a frame on the backend of a queue that runs, where that is its own affair. */
  linkState?(queue: number): LinkState;
  /** Tells of what the IOTLB misses, until the watch is closed; for devices that have one (VIRTIO_F_ACCESS_PLATFORM). */
  watchIotlb?(events: IotlbEvents): Poller;
  /** VHOST_IOTLB_UPDATE, VHOST_IOTLB_INVALIDATE and batches of them. */
  writeIotlb?(message: IotlbRequest): Awaitable<void>;
  /** Closes the device and lets go of its memory. Idempotent. */
  close(): Awaitable<void>;
}
