import { bit } from '../abi/bit.js';
import { VHOST_BACKEND_F_IOTLB_BATCH, VHOST_BACKEND_F_IOTLB_MSG_V2, VHOST_MSG_SIZE } from '../abi/vhost.js';
import { checkInteger, checkOptions, wrongType, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { explain } from '../errors/hints.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel, Poller, VringAddresses } from '../kernel/kernel.js';
import type { GuestMemory, MemoryHolder } from '../memory/guest-memory.js';
import {
  capabilitiesOf,
  FEATURE_WORDS,
  MAX_FEATURE_WORDS,
  MAX_MEM_REGIONS,
  maxMemRegions,
  type VhostCapabilities,
} from './capabilities.js';
import { decodeIotlbMiss, encodeIotlbRequest, type IotlbMiss, type IotlbRequest } from './iotlb-message.js';
import { type KernelWorker, WorkerSearch } from './kernel-worker.js';
import { refusable } from './optional-requests.js';
import { RingPlaces } from './ring-places.js';
import type { IotlbEvents, Vhost } from './vhost.js';

/** The kernel's names of the messages that can be written to an IOTLB. */
const iotlbRequests: Readonly<Record<IotlbRequest['type'], string>> = {
  update: 'VHOST_IOTLB_UPDATE',
  invalidate: 'VHOST_IOTLB_INVALIDATE',
  'batch-begin': 'VHOST_IOTLB_BATCH_BEGIN',
  'batch-end': 'VHOST_IOTLB_BATCH_END',
};
/** Messages that one turn of the loop takes; the watch tells of the rest in the next. */
const IOTLB_ROUND = 256;

export interface KernelVhostOptions {
  /** The device node; /dev/vhost-net by default. */
  readonly path?: string;
  readonly kernel?: Kernel;
}

function checkedOptions(options: KernelVhostOptions): Required<KernelVhostOptions> {
  checkOptions('options', options, ['path', 'kernel']);
  const { kernel = hostKernel(), path = '/dev/vhost-net' } = options;
  if (typeof path !== 'string') throw wrongType('path', 'the path of a device', path);
  return { kernel, path };
}

/**
 * The kernel's own vhost-net: the raw tier, 1:1 with its requests, in the order in which a device is set up. The
 * kernel's refusals come through as they are, with a hint where the cause is known; a request that this kernel lacks is
 * ERR_VHOST_UNSUPPORTED, its `cause` the kernel's refusal. What the kernel does not check and a device would stumble
 * over is ERR_VHOST_OUT_OF_RANGE.
 *
 * Every request but those on features, backend features and fork-from-owner is refused with EPERM where the process is
 * not the owner (Workers are; child processes are not) and those on a queue with ENOBUFS where there is no such queue:
 * 0 receives, 1 transmits.
 */
export class KernelVhost implements Vhost {
  readonly path: string;
  readonly #kernel: Kernel;
  #fd: number;
  #memory: GuestMemory | undefined;
  readonly #rings = new RingPlaces();
  #backendFeatures = 0n;
  readonly #message = new Uint8Array(VHOST_MSG_SIZE);
  #worker: KernelWorker | undefined;
  /** Detaches under way, and the end of all of them. */
  #detaching = 0;
  #detached: Promise<unknown> = Promise.resolve();
  /** Told when the memory changes. The kernel takes no table while it detaches, which would hold up the loop. */
  readonly #holder: MemoryHolder = {
    setMemTable: async (memory) => {
      while (this.#detaching > 0) await this.#detached;
      if (this.#fd !== -1) this.setMemTable(memory);
    },
  };

  private constructor(kernel: Kernel, path: string, fd: number) {
    this.#kernel = kernel;
    this.path = path;
    this.#fd = fd;
  }

  /** Opens the device. Nothing else is asked of it yet. */
  static open(options: KernelVhostOptions = {}): KernelVhost {
    const { kernel, path } = checkedOptions(options);
    return new KernelVhost(
      kernel,
      path,
      refusable(() => kernel.vhost.open(path)),
    );
  }

  /** What the kernel behind the device can do. Opens it for the time of a few requests. */
  static capabilities(options: KernelVhostOptions = {}): VhostCapabilities {
    const { kernel, path } = checkedOptions(options);
    return capabilitiesOf(kernel, path);
  }

  /** The open descriptor. */
  get fd(): number {
    if (this.#fd === -1) throw new VhostError('ERR_VHOST_CLOSED', `${this.path} is closed`);
    return this.#fd;
  }

  /** VHOST_GET_FEATURES: u64, every feature bit that can be agreed, of the first 64. */
  getFeatures(): bigint {
    return refusable(() => this.#kernel.vhost.getFeatures(this.fd));
  }

  /**
   * VHOST_SET_FEATURES: u64, feature bits to use; also without an owner. Bits above 63 that were agreed are gone.
   * EOPNOTSUPP: a bit is not offered. EFAULT: VHOST_F_LOG_ALL while a queue runs whose log is out of reach.
   */
  setFeatures(features: bigint): void {
    refusable(() => this.#kernel.vhost.setFeatures(this.fd, features));
    this.#rings.features = features;
  }

  /**
   * VHOST_GET_FEATURES_ARRAY: u64 words of feature bits offered, the lowest first; also without an owner. The kernel is
   * asked for the two words that it has, whatever `words` is, since Linux 6.17 blanks them where it is asked for more:
   * what is beyond is 0. ERR_VHOST_UNSUPPORTED before Linux 6.17.
   */
  getFeaturesArray(words: number = FEATURE_WORDS): bigint[] {
    checkInteger('words', words, 0, MAX_FEATURE_WORDS);
    const known = refusable(() => this.#kernel.vhost.getFeaturesArray(this.fd, FEATURE_WORDS));
    return Array.from({ length: words }, (_, i) => known[i] ?? 0n);
  }

  /**
   * VHOST_SET_FEATURES_ARRAY: u64 words of feature bits to use, in place of VHOST_SET_FEATURES; its errors.
   * ERR_VHOST_UNSUPPORTED before Linux 6.17.
   */
  setFeaturesArray(words: readonly bigint[]): void {
    refusable(() => this.#kernel.vhost.setFeaturesArray(this.fd, words));
    this.#rings.features = words[0] ?? 0n;
  }

  /** VHOST_GET_BACKEND_FEATURES: u64, VHOST_BACKEND_F_* bits offered; also without an owner. */
  getBackendFeatures(): bigint {
    return refusable(() => this.#kernel.vhost.getBackendFeatures(this.fd));
  }

  /** VHOST_SET_BACKEND_FEATURES: u64, also without an owner. EOPNOTSUPP: a bit is not offered. */
  setBackendFeatures(features: bigint): void {
    refusable(() => this.#kernel.vhost.setBackendFeatures(this.fd, features));
    this.#backendFeatures = features;
  }

  /**
   * VHOST_GET_FORK_FROM_OWNER: u8, 1 where the worker is or will be a task of the owner, 0 a kernel thread.
   * ERR_VHOST_UNSUPPORTED before Linux 6.17, but for kernels that took it over.
   */
  getForkFromOwner(): number {
    return refusable(() => this.#kernel.vhost.getForkFromOwner(this.fd));
  }

  /**
   * VHOST_SET_FORK_FROM_OWNER: u8, 1 (VHOST_FORK_OWNER_TASK) or 0 (VHOST_FORK_OWNER_KTHREAD), before `setOwner`.
   * EBUSY: the device has an owner. EINVAL: another value. ERR_VHOST_UNSUPPORTED as for `getForkFromOwner`.
   */
  setForkFromOwner(value: number): void {
    refusable(() => this.#kernel.vhost.setForkFromOwner(this.fd, value));
  }

  /**
   * VHOST_SET_OWNER: the device belongs to this process from now on; starts the worker. EBUSY: it has an owner.
   * EAGAIN, ENOMEM: the worker could not be started (it counts towards RLIMIT_NPROC where it is a task).
   */
  setOwner(): void {
    const { fd } = this;
    const search = new WorkerSearch(this.#kernel.files);
    refusable(() => this.#kernel.vhost.setOwner(fd));
    this.#worker = search.find();
  }

  /**
   * The kernel's worker, from `setOwner` on; `undefined` where it cannot be told: /proc is not mounted, or it is a
   * kernel thread and this process in a container.
   */
  worker(): KernelWorker | undefined {
    return this.#worker;
  }

  /**
   * VHOST_RESET_OWNER: stops every queue, ends the worker and leaves the device as `open` did, its features gone as
   * well; it lets go of its memory. Waits for the frames that a backend still has.
   */
  resetOwner(): void {
    refusable(() => this.#kernel.vhost.resetOwner(this.fd));
    this.#worker = undefined;
    this.#backendFeatures = 0n;
    this.#rings.reset();
    this.#memory?.drop(this.#holder);
    this.#memory = undefined;
  }

  /**
   * VHOST_SET_MEM_TABLE: struct vhost_memory, all regions of the memory in place of those before. ERR_VHOST_OUT_OF_RANGE:
   * two regions share guest physical addresses, the ring of a running queue is outside, or there are more regions than
   * max_mem_regions (E2BIG where that parameter does not show). EFAULT: a region of 0 bytes above address 0, or a user
   * address out of reach while a queue runs.
   */
  setMemTable(memory: GuestMemory): void {
    const { fd } = this;
    const table = memory.table();
    const most = maxMemRegions(this.#kernel);
    if (most !== undefined && table.length > most)
      throw wrongValue('memory', `made of at most the ${most} regions of ${MAX_MEM_REGIONS}`, table.length, {
        request: 'VHOST_SET_MEM_TABLE',
      });
    this.#rings.checkTable(table);
    refusable(() => this.#kernel.vhost.setMemTable(fd, table));
    this.#rings.table = table;
    memory.hold(this.#holder);
    if (this.#memory === memory) return;
    this.#memory?.drop(this.#holder);
    this.#memory = memory;
  }

  /**
   * VHOST_SET_LOG_BASE: u64, user address of the dirty log, one bit for each 4 KiB of guest physical memory. EFAULT:
   * out of reach, while a queue runs with VHOST_F_LOG_ALL; without, only `setBackend` looks.
   */
  setLogBase(address: bigint): void {
    refusable(() => this.#kernel.vhost.setLogBase(this.fd, address));
  }

  /** VHOST_SET_LOG_FD: int, an eventfd signalled with each page logged, -1 for none. EBADF, EINVAL: not an eventfd. */
  setLogFd(logFd: number): void {
    refusable(() => this.#kernel.vhost.setLogFd(this.fd, logFd));
  }

  /**
   * VHOST_SET_VRING_NUM: struct vhost_vring_state, descriptors of a ring. EBUSY: the queue has a backend. EINVAL: not a
   * power of two up to 32,768.
   */
  setVringNum(queue: number, size: number): void {
    refusable(() => this.#kernel.vhost.setVringNum(this.fd, queue, size));
    this.#rings.ring(queue).size = size;
  }

  /**
   * VHOST_SET_VRING_BASE: struct vhost_vring_state, the available index to begin at, modulo 2^16. EBUSY: the queue has a
   * backend. EINVAL: above 65,535.
   */
  setVringBase(queue: number, base: number): void {
    refusable(() => this.#kernel.vhost.setVringBase(this.fd, queue, base));
  }

  /** VHOST_GET_VRING_BASE: struct vhost_vring_state, the available index that the device would take next. */
  getVringBase(queue: number): number {
    return refusable(() => this.#kernel.vhost.getVringBase(this.fd, queue));
  }

  /**
   * VHOST_SET_VRING_ADDR: struct vhost_vring_addr, user addresses of the ring's parts. ERR_VHOST_OUT_OF_RANGE: the
   * descriptor table is not on a multiple of 16, or a part is not inside one region of the memory table, where that was
   * set and VIRTIO_F_ACCESS_PLATFORM was not. EINVAL: the available ring is not on a multiple of 2, the used ring or the
   * log of 4, or a part is out of reach while the queue runs. EOPNOTSUPP: flags other than bit VHOST_VRING_F_LOG.
   */
  setVringAddr(queue: number, addresses: VringAddresses): void {
    const { fd } = this;
    this.#rings.checkAddresses(queue, addresses);
    refusable(() => this.#kernel.vhost.setVringAddr(fd, queue, addresses));
    this.#rings.ring(queue).addresses = { ...addresses };
  }

  /**
   * VHOST_SET_VRING_ENDIAN: struct vhost_vring_state, byte order of a legacy ring: 0 (VHOST_VRING_LITTLE_ENDIAN) or 1
   * (VHOST_VRING_BIG_ENDIAN). EBUSY: the queue has a backend. EINVAL: another value. ERR_VHOST_UNSUPPORTED: the kernel
   * was built without CONFIG_VHOST_CROSS_ENDIAN_LEGACY, as most are.
   */
  setVringEndian(queue: number, endian: number): void {
    refusable(() => this.#kernel.vhost.setVringEndian(this.fd, queue, endian));
  }

  /** VHOST_GET_VRING_ENDIAN: struct vhost_vring_state. ERR_VHOST_UNSUPPORTED as for `setVringEndian`. */
  getVringEndian(queue: number): number {
    return refusable(() => this.#kernel.vhost.getVringEndian(this.fd, queue));
  }

  /**
   * VHOST_SET_VRING_KICK: struct vhost_vring_file, the eventfd by which the driver wakes the device, -1 for none. EBADF,
   * EINVAL: not an eventfd.
   */
  setVringKick(queue: number, eventFd: number): void {
    refusable(() => this.#kernel.vhost.setVringKick(this.fd, queue, eventFd));
  }

  /** VHOST_SET_VRING_CALL: struct vhost_vring_file, the eventfd by which the device wakes the driver; as the kick. */
  setVringCall(queue: number, eventFd: number): void {
    refusable(() => this.#kernel.vhost.setVringCall(this.fd, queue, eventFd));
  }

  /** VHOST_SET_VRING_ERR: struct vhost_vring_file, the eventfd by which the device reports an error; as the kick. */
  setVringErr(queue: number, eventFd: number): void {
    refusable(() => this.#kernel.vhost.setVringErr(this.fd, queue, eventFd));
  }

  /**
   * VHOST_SET_VRING_BUSYLOOP_TIMEOUT: struct vhost_vring_state, microseconds the device polls before it sleeps, 0 for
   * none; at any time. ERR_VHOST_UNSUPPORTED before Linux 4.6.
   */
  setVringBusyloopTimeout(queue: number, microseconds: number): void {
    refusable(() => this.#kernel.vhost.setVringBusyloopTimeout(this.fd, queue, microseconds));
  }

  /** VHOST_GET_VRING_BUSYLOOP_TIMEOUT: struct vhost_vring_state, microseconds. As for the setting of it. */
  getVringBusyloopTimeout(queue: number): number {
    return refusable(() => this.#kernel.vhost.getVringBusyloopTimeout(this.fd, queue));
  }

  /**
   * VHOST_NEW_WORKER: struct vhost_worker_state, the id of a new worker. No net device of any kernel has it yet:
   * ERR_VHOST_UNSUPPORTED, as the kernel's ENOTTY or ENOBUFS.
   */
  newWorker(): number {
    return refusable(() => this.#kernel.vhost.newWorker(this.fd));
  }

  /** VHOST_FREE_WORKER: struct vhost_worker_state, the worker to end. ERR_VHOST_UNSUPPORTED as for `newWorker`. */
  freeWorker(worker: number): void {
    refusable(() => this.#kernel.vhost.freeWorker(this.fd, worker));
  }

  /** VHOST_ATTACH_VRING_WORKER: struct vhost_vring_worker, who serves the queue. ERR_VHOST_UNSUPPORTED likewise. */
  attachVringWorker(queue: number, worker: number): void {
    refusable(() => this.#kernel.vhost.attachVringWorker(this.fd, queue, worker));
  }

  /** VHOST_GET_VRING_WORKER: struct vhost_vring_worker, the id of the queue's worker. ERR_VHOST_UNSUPPORTED likewise. */
  getVringWorker(queue: number): number {
    return refusable(() => this.#kernel.vhost.getVringWorker(this.fd, queue));
  }

  /**
   * VHOST_NET_SET_BACKEND: struct vhost_vring_file, a tap, macvtap or raw packet socket; starts the queue on it or moves
   * a running one to it. With -1 as `detachBackend`, but it may hold the loop up. ERR_VHOST_OUT_OF_RANGE: the ring is not
   * inside the memory table. EFAULT: there is no memory table, or the ring or the log is out of reach. ENOTSOCK: another
   * kind of descriptor. EINVAL: a tap without an interface.
   */
  setBackend(queue: number, backendFd: number): void {
    const { fd } = this;
    const starts = backendFd !== -1;
    if (starts) this.#rings.checkStart(queue);
    refusable(() => this.#kernel.vhost.netSetBackend(fd, queue, backendFd));
    this.#rings.ring(queue).running = starts;
  }

  /**
   * VHOST_NET_SET_BACKEND with -1: stops the queue; resolves when the device has let go of every buffer. EFAULT, and the
   * queue runs on: there is no memory table, or the ring or the log is out of reach.
   */
  async detachBackend(queue: number): Promise<void> {
    const { fd } = this;
    this.#detaching++;
    try {
      const detached = this.#kernel.vhost.netDetachBackend(fd, queue);
      this.#detached = Promise.allSettled([this.#detached, detached]);
      await detached;
      this.#rings.ring(queue).running = false;
    } catch (error) {
      throw explain(error);
    } finally {
      this.#detaching--;
    }
  }

  /**
   * read(2) of a struct vhost_msg or, with VHOST_BACKEND_F_IOTLB_MSG_V2, a struct vhost_msg_v2: the oldest
   * VHOST_IOTLB_MISS, `undefined` where there is none. The worker that missed goes on when an update covers the address
   * that was read. ERR_VHOST_BAD_MESSAGE: what was read is no such message.
   */
  readIotlb(): IotlbMiss | undefined {
    let size: number;
    try {
      size = this.#kernel.descriptor.read(this.fd, this.#message);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
      throw named(error, 'VHOST_IOTLB_MISS');
    }
    return decodeIotlbMiss(this.#message.subarray(0, size));
  }

  /**
   * write(2) of a struct vhost_msg, or of a struct vhost_msg_v2 where that is agreed. It waits for the queues' workers to
   * end their turns, and for as long as a backend is being detached. EFAULT: VIRTIO_F_ACCESS_PLATFORM is not agreed, or
   * the user addresses are out of reach. ERR_VHOST_UNSUPPORTED: a batch, which no net device has
   * (VHOST_BACKEND_F_IOTLB_BATCH). ERR_VHOST_OUT_OF_RANGE: no bytes, or more than there are addresses.
   */
  writeIotlb(message: IotlbRequest): void {
    const { fd } = this;
    const agreed = (feature: number): boolean => (this.#backendFeatures & bit(feature)) !== 0n;
    const bytes = encodeIotlbRequest(message, agreed(VHOST_BACKEND_F_IOTLB_MSG_V2));
    const request = iotlbRequests[message.type];
    if (/BATCH/.test(request) && !agreed(VHOST_BACKEND_F_IOTLB_BATCH))
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        `${request} needs VHOST_BACKEND_F_IOTLB_BATCH, which vhost-vdpa offers and no net device; write the messages singly`,
        { request },
      );
    try {
      this.#kernel.descriptor.write(fd, bytes);
    } catch (error) {
      throw named(error, request);
    }
  }

  /** poll(2) for messages to read, which are told of in the order in which they were sent. */
  watchIotlb(events: IotlbEvents): Poller {
    const watch = this.#kernel.poller.watchReadable(this.fd, () => {
      try {
        for (let i = 0; i < IOTLB_ROUND && this.#fd !== -1; i++) {
          const miss = this.readIotlb();
          if (miss === undefined) return;
          events.missed(miss);
        }
      } catch (error) {
        watch.close();
        events.failed(error as VhostError);
      }
    });
    return watch;
  }

  /** Closes the device and lets go of its memory. ERR_VHOST_IN_USE: a backend is being detached. Idempotent. */
  close(): void {
    if (this.#fd === -1) return;
    if (this.#detaching > 0)
      throw new VhostError(
        'ERR_VHOST_IN_USE',
        `a backend is being detached from ${this.path}; await detachBackend() first`,
      );
    const fd = this.#fd;
    this.#fd = -1;
    this.#worker = undefined;
    try {
      this.#kernel.descriptor.close(fd);
    } finally {
      this.#memory?.drop(this.#holder);
      this.#memory = undefined;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A refusal of read(2) or write(2), told as one of the message that it was about. */
function named(error: unknown, request: string): unknown {
  if (error instanceof Error) Object.defineProperty(error, 'request', { value: request, enumerable: true });
  return explain(error);
}
