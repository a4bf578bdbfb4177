import { EventEmitter } from 'node:events';
import { bit } from '../../abi/bit.js';
import { AF_PACKET, AF_UNIX, SOCK_RAW, SOCK_SEQPACKET } from '../../abi/socket.js';
import { VHOST_F_LOG_ALL, VHOST_NET_F_VIRTIO_NET_HDR, VHOST_VRING_F_LOG } from '../../abi/vhost.js';
import {
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_NOTIFY_ON_EMPTY,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
} from '../../abi/virtio-config.js';
import { VIRTIO_NET_F_MRG_RXBUF } from '../../abi/virtio-net.js';
import {
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
  VRING_AVAIL_ALIGN_SIZE,
  VRING_USED_ALIGN_SIZE,
} from '../../abi/virtio-ring.js';
import type { LinkState } from '../../backend/backend.js';
import { programOf } from '../../backend/program.js';
import { VhostError } from '../../errors/errors.js';
import { refusal } from '../../errors/refusal.js';
import { undo } from '../../errors/undo.js';
import { hostKernel } from '../../kernel/host.js';
import type { Kernel, VringAddresses } from '../../kernel/kernel.js';
import { AddressMap } from '../../memory/address-map.js';
import type { GuestMemory, MemoryHolder } from '../../memory/guest-memory.js';
import { inflightBytes } from '../../vring/inflight.js';
import { RingPlaces } from '../ring-places.js';
import type { InflightFile, LogFile, Vhost } from '../vhost.js';
import { PageMarks } from './page-marks.js';
import type { QueueFault, WorkerQueueStats } from './running-queue.js';
import { type DeviceState, type QueueFile, WorkerQueue } from './worker-queue.js';

/** As the kernel's vhost-net offers, but for addresses that are translated; in order as Linux 6.18. */
const OFFERED = [
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_F_NOTIFY_ON_EMPTY,
  VHOST_F_LOG_ALL,
  VHOST_NET_F_VIRTIO_NET_HDR,
  VIRTIO_RING_F_INDIRECT_DESC,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_RESET,
].reduce((bits, feature) => bits | bit(feature), 0n);

const MOST_DESCRIPTORS = 0x8000;

export interface WorkerVhostOptions {
  readonly kernel?: Kernel;
}

interface WorkerVhostEvents {
  /** A queue stands still, and its error eventfd was signalled: 0 receives, 1 transmits. */
  fault: [fault: { readonly queue: number; readonly reason: QueueFault; readonly error: unknown }];
}

/**
 * A vhost net device that this program itself is: its queues are served on the thread's event loop. It answers as
 * `KernelVhost` does, refusals by the same codes; docs/worker.md lists where it differs. Backends are a tap, a macvtap, a
 * packet socket, the end of a cable (`openCable`) and a function (`programBackend`).
 */
export class WorkerVhost extends EventEmitter<WorkerVhostEvents> implements Vhost {
  readonly #kernel: Kernel;
  readonly #places = new RingPlaces();
  readonly #device: DeviceState;
  readonly #queues: readonly WorkerQueue[];
  #owned = false;
  /** Whether the owner is being reset: it can ask for nothing any more. */
  #leaving = false;
  #closed = false;
  /** Told when the memory changes. */
  readonly #holder: MemoryHolder = {
    setMemTable: (memory) => {
      if (!this.#closed) this.#useMemory(memory);
    },
  };

  constructor({ kernel = hostKernel() }: WorkerVhostOptions = {}) {
    super();
    this.#kernel = kernel;
    this.#device = {
      kernel,
      features: 0n,
      memory: undefined,
      map: undefined,
      marks: undefined,
      logFd: -1,
      faulted: (queue, reason, error) => void this.emit('fault', { queue, reason, error }),
    };
    this.#queues = [0, 1].map((index) => new WorkerQueue(index, this.#device));
  }

  /** VHOST_GET_FEATURES; also without an owner. */
  getFeatures(): bigint {
    this.#expectOpen();
    return OFFERED;
  }

  /** EOPNOTSUPP: a bit is not offered. EFAULT: VHOST_F_LOG_ALL while a queue runs and there is no log. */
  setFeatures(features: bigint): void {
    this.#expectOpen();
    if ((features & ~OFFERED) !== 0n) throw refusal('EOPNOTSUPP', 'VHOST_SET_FEATURES');
    const logs = (features & bit(VHOST_F_LOG_ALL)) !== 0n;
    if (logs && this.#device.marks === undefined && this.#queues.some(({ running }) => running))
      throw refusal('EFAULT', 'VHOST_SET_FEATURES');
    this.#places.features = features;
    this.#device.features = features;
    for (const queue of this.#queues) queue.moveLog();
  }

  /** EBUSY: it has an owner. */
  setOwner(): void {
    this.#expectOpen();
    if (this.#owned) throw refusal('EBUSY', 'VHOST_SET_OWNER');
    this.#owned = true;
  }

  /** VHOST_RESET_OWNER: stops every queue and leaves the device as new; it lets go of its memory. */
  async resetOwner(): Promise<void> {
    this.#expectOwner('VHOST_RESET_OWNER');
    this.#leaving = true;
    await this.#stop();
    if (this.#closed) return;
    this.#forget();
    this.#leaving = false;
    this.#owned = false;
  }

  /** VHOST_SET_MEM_TABLE; refused as the kernel does, a queue that runs goes on with the new table. */
  setMemTable(memory: GuestMemory): void {
    this.#expectOwner('VHOST_SET_MEM_TABLE');
    this.#useMemory(memory);
  }

  /** ERR_VHOST_UNSUPPORTED: the log is not told as a file. */
  setLogBase(address: bigint, file?: LogFile): void {
    this.#expectOwner('VHOST_SET_LOG_BASE');
    if (file === undefined)
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        `a log at the user address 0x${address.toString(16)} alone; tell the memfd that has it, as DirtyLog does`,
        { request: 'VHOST_SET_LOG_BASE' },
      );
    const device = this.#device;
    const before = device.marks;
    device.marks = new PageMarks(this.#kernel, file);
    for (const queue of this.#queues) queue.moveLog();
    before?.close();
  }

  /** VHOST_SET_LOG_FD: an eventfd signalled with each page logged, of which a copy is kept; -1 for none. */
  setLogFd(logFd: number): void {
    this.#expectOwner('VHOST_SET_LOG_FD');
    const copy = this.#eventfd(logFd, 'VHOST_SET_LOG_FD');
    const before = this.#device.logFd;
    this.#device.logFd = copy;
    for (const queue of this.#queues) queue.moveLog();
    if (before !== -1) this.#kernel.descriptor.close(before);
  }

  /** EBUSY: the queue has a backend. EINVAL: not a power of two up to 32,768. */
  setVringNum(queue: number, size: number): void {
    const one = this.#detached(queue, 'VHOST_SET_VRING_NUM');
    if (!Number.isInteger(size) || size < 1 || size > MOST_DESCRIPTORS || (size & (size - 1)) !== 0)
      throw refusal('EINVAL', 'VHOST_SET_VRING_NUM', queue);
    one.size = size;
    this.#places.ring(queue).size = size;
  }

  /** EBUSY: the queue has a backend. EINVAL: above 65,535. */
  setVringBase(queue: number, base: number): void {
    const one = this.#detached(queue, 'VHOST_SET_VRING_BASE');
    if (!Number.isInteger(base) || base < 0 || base > 0xffff)
      throw refusal('EINVAL', 'VHOST_SET_VRING_BASE', queue);
    one.base = base;
  }

  /** VHOST_GET_VRING_BASE: the available index that the queue takes next, also while it runs. */
  getVringBase(queue: number): number {
    return this.#queue(queue, 'VHOST_GET_VRING_BASE').base;
  }

  /** As `KernelVhost.setVringAddr`. */
  setVringAddr(queue: number, addresses: VringAddresses): void {
    const one = this.#queue(queue, 'VHOST_SET_VRING_ADDR');
    this.#places.checkAddresses(queue, addresses);
    const { flags, availableRing, usedRing, log } = addresses;
    const refused = (code: string): Error => refusal(code, 'VHOST_SET_VRING_ADDR', queue);
    if ((flags & ~(1 << VHOST_VRING_F_LOG)) !== 0) throw refused('EOPNOTSUPP');
    const aligned = (address: bigint, bytes: number): boolean => address % BigInt(bytes) === 0n;
    if (
      !aligned(availableRing, VRING_AVAIL_ALIGN_SIZE) ||
      !aligned(usedRing, VRING_USED_ALIGN_SIZE) ||
      !aligned(log, VRING_USED_ALIGN_SIZE)
    )
      throw refused('EINVAL');
    one.addresses = { ...addresses };
    this.#places.ring(queue).addresses = one.addresses;
    one.move();
    one.moveLog();
  }

  /** EBUSY: the queue has a backend. EINVAL: less memory than a queue of one descriptor takes, or at no multiple of 64. */
  setVringInflight(queue: number, file: InflightFile | undefined, start: number): void {
    const one = this.#detached(queue, 'VHOST_USER_SET_INFLIGHT_FD');
    if (file !== undefined && !(start >= 0 && start % 64 === 0 && start + inflightBytes(1) <= file.size))
      throw refusal('EINVAL', 'VHOST_USER_SET_INFLIGHT_FD', queue);
    one.trackIn(file && this.#kernel.memory.map(file.fd, file.offset, file.size), start);
    one.ordered = file === undefined;
  }

  /** VHOST_SET_VRING_KICK: an eventfd, of which a copy is kept; -1 for none, with which nothing starts a queue that sleeps. */
  setVringKick(queue: number, eventFd: number): void {
    this.#setFile(queue, 'kick', eventFd, 'VHOST_SET_VRING_KICK');
  }

  /** VHOST_SET_VRING_CALL: an eventfd, of which a copy is kept; -1 for none. */
  setVringCall(queue: number, eventFd: number): void {
    this.#setFile(queue, 'call', eventFd, 'VHOST_SET_VRING_CALL');
  }

  /** VHOST_SET_VRING_ERR: an eventfd, of which a copy is kept; -1 for none. */
  setVringErr(queue: number, eventFd: number): void {
    this.#setFile(queue, 'err', eventFd, 'VHOST_SET_VRING_ERR');
  }

  /** Is taken and has no effect: to poll would hold the loop up. */
  setVringBusyloopTimeout(queue: number, _microseconds: number): void {
    this.#queue(queue, 'VHOST_SET_VRING_BUSYLOOP_TIMEOUT');
  }

  /**
   * Starts the queue on a backend, or, with -1, stops it as `detachBackend`. A queue that runs moves to another backend
   * once what it sent is completed. EFAULT: there is no memory table, ring, or log that is asked for. ENOTSOCK: another kind
   * of descriptor. EINVAL: a tap without an interface, or too little memory for the heads in flight. The descriptor's file
   * becomes non-blocking.
   */
  setBackend(queue: number, backendFd: number): void | Promise<void> {
    if (backendFd === -1) return this.detachBackend(queue);
    const one = this.#startable(queue);
    const refused = (code: string): Error => refusal(code, 'VHOST_NET_SET_BACKEND', queue);
    const backend = programOf(backendFd) === undefined ? this.#backend(backendFd, refused) : backendFd;
    const start = (): void => {
      try {
        // The device may be another by now.
        this.#startable(queue).start(backend);
      } catch (error) {
        if (backend !== backendFd) undo(() => this.#kernel.descriptor.close(backend));
        throw error;
      }
      this.#places.ring(queue).running = true;
    };
    return one.replace(start);
  }

  /** A queue that has all that it takes to run. */
  #startable(queue: number): WorkerQueue {
    const one = this.#queue(queue, 'VHOST_NET_SET_BACKEND');
    const { map, marks, features } = this.#device;
    const logs = (features & bit(VHOST_F_LOG_ALL)) !== 0n;
    if (map === undefined || one.addresses === undefined || (logs && marks === undefined))
      throw refusal('EFAULT', 'VHOST_NET_SET_BACKEND', queue);
    this.#places.checkStart(queue);
    if (one.inflightRoom !== undefined && one.inflightRoom < inflightBytes(one.size))
      throw refusal('EINVAL', 'VHOST_NET_SET_BACKEND', queue);
    return one;
  }

  /** VHOST_NET_SET_BACKEND with -1: resolves when every frame that the queue has taken is completed. */
  async detachBackend(queue: number): Promise<void> {
    const one = this.#queue(queue, 'VHOST_NET_SET_BACKEND');
    if (this.#device.map === undefined) throw refusal('EFAULT', 'VHOST_NET_SET_BACKEND', queue);
    await one.replace();
    this.#places.ring(queue).running = false;
  }

  /** What a queue counted since the device was opened. */
  stats(queue: number): Readonly<WorkerQueueStats> {
    return { ...this.#queue(queue, 'stats').stats };
  }

  /** Of a queue that runs: when it completes what it is given. */
  linkState(queue: number): LinkState {
    return this.#queue(queue, 'linkState').linkState;
  }

  /** Stops both queues and lets go of all that it was told. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#stop();
    this.#forget();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #stop(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.replace()));
  }

  #useMemory(memory: GuestMemory): void {
    const table = memory.table();
    this.#places.checkTable(table);
    this.#places.table = table;
    const device = this.#device;
    device.map = new AddressMap(
      memory.regions.map(({ guestPhysicalAddress, size, userAddress, buffer }) => ({
        guestPhysicalAddress,
        size,
        userAddress,
        buffer,
        offset: 0,
      })),
    );
    const before = device.memory;
    device.memory = memory;
    for (const queue of this.#queues) queue.move();
    memory.hold(this.#holder);
    if (before !== memory) before?.drop(this.#holder);
  }

  /** Lets go of all that it was told. */
  #forget(): void {
    for (const queue of this.#queues) queue.reset();
    this.#places.reset();
    const device = this.#device;
    device.memory?.drop(this.#holder);
    undo(() => device.marks?.close());
    if (device.logFd !== -1) undo(() => this.#kernel.descriptor.close(device.logFd));
    Object.assign(device, { features: 0n, memory: undefined, map: undefined, marks: undefined, logFd: -1 });
  }

  #setFile(queue: number, file: QueueFile, eventFd: number, request: string): void {
    const one = this.#queue(queue, request);
    const copy = this.#eventfd(eventFd, request, queue);
    try {
      one.setFile(file, copy);
    } catch (error) {
      if (copy !== -1) undo(() => this.#kernel.descriptor.close(copy));
      throw error;
    }
  }

  /** A copy of an eventfd, as the kernel's device holds the file and not the descriptor. */
  #eventfd(fd: number, request: string, queue?: number): number {
    if (fd === -1) return -1;
    const { files, descriptor } = this.#kernel;
    const info = files.read(`/proc/self/fdinfo/${fd}`);
    if (info === undefined) throw refusal('EBADF', request, queue);
    if (!info.includes('eventfd-count:')) throw refusal('EINVAL', request, queue);
    return descriptor.duplicate(fd);
  }

  /** A copy of a backend's descriptor, like get_socket(). */
  #backend(fd: number, refused: (code: string) => Error): number {
    const { files, descriptor, frames } = this.#kernel;
    if (files.read(`/proc/self/fdinfo/${fd}`) === undefined) throw refused('ENOTSOCK');
    const copy = descriptor.duplicate(fd);
    try {
      if (!this.#isSocket(copy)) this.#expectTap(copy, refused);
      frames.setNonBlocking(copy);
      return copy;
    } catch (error) {
      undo(() => descriptor.close(copy));
      throw error;
    }
  }

  #isSocket(fd: number): boolean {
    try {
      const { domain, type } = this.#kernel.packet.describe(fd);
      return (domain === AF_PACKET && type === SOCK_RAW) || (domain === AF_UNIX && type === SOCK_SEQPACKET);
    } catch {
      return false;
    }
  }

  #expectTap(fd: number, refused: (code: string) => Error): void {
    try {
      this.#kernel.tun.getIff(fd);
    } catch (error) {
      throw refused((error as NodeJS.ErrnoException).code === 'EBADFD' ? 'EINVAL' : 'ENOTSOCK');
    }
  }

  #queue(queue: number, request: string): WorkerQueue {
    this.#expectOwner(request, queue);
    const one = this.#queues[queue];
    if (one === undefined) throw refusal('ENOBUFS', request, queue);
    return one;
  }

  #detached(queue: number, request: string): WorkerQueue {
    const one = this.#queue(queue, request);
    if (one.running) throw refusal('EBUSY', request, queue);
    return one;
  }

  #expectOwner(request: string, queue?: number): void {
    this.#expectOpen();
    if (!this.#owned || this.#leaving) throw refusal('EPERM', request, queue);
  }

  #expectOpen(): void {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', 'this WorkerVhost is closed');
  }
}
