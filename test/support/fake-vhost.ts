import { bit } from '../../lib/abi/bit.js';
import {
  VHOST_BACKEND_F_IOTLB_MSG_V2,
  VHOST_F_LOG_ALL,
  VHOST_FORK_OWNER_KTHREAD,
  VHOST_FORK_OWNER_TASK,
  VHOST_VRING_BIG_ENDIAN,
  VHOST_VRING_F_LOG,
  VHOST_VRING_LITTLE_ENDIAN,
} from '../../lib/abi/vhost.js';
import { VHOST_MAX_MEM_REGIONS, VHOST_NET_VQ_TX } from '../../lib/abi/vhost-net.js';
import {
  VRING_AVAIL_ALIGN_SIZE,
  VRING_USED_ALIGN_SIZE,
  VRING_USED_IDX_OFFSET,
} from '../../lib/abi/virtio-ring.js';
import type { MemoryTableEntry, VhostSurface, VringAddresses } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import type { FakeDevice } from './fake-device.js';
import { EventFile } from './fake-eventfd.js';
import type { OpenFile } from './fake-file.js';
import { type FakeMemory, hex } from './fake-memory.js';
import { SocketFile } from './fake-packet.js';
import type { FakeQueue } from './fake-queue.js';
import type { Schedule } from './fake-schedule.js';
import { TapFile } from './fake-tap-file.js';
import type { Entry, Trace } from './fake-trace.js';
import { VhostFile } from './fake-vhost-file.js';
import type { FakeWorkers } from './fake-workers.js';

/** What the kernel offers. */
export interface VhostOffer {
  /** Features of the first 64 bits. */
  readonly features: bigint;
  /** Features beyond, a word each; absent for a kernel before VHOST_GET_FEATURES_ARRAY. */
  readonly extendedFeatures: readonly bigint[] | undefined;
  /** Whether VHOST_SET_FORK_FROM_OWNER was compiled in. */
  readonly forkControl: boolean;
  /** Whether VHOST_SET_VRING_ENDIAN was compiled in (CONFIG_VHOST_CROSS_ENDIAN_LEGACY). */
  readonly crossEndian: boolean;
  /** Whether a worker is a task of the owner unless VHOST_SET_FORK_FROM_OWNER says otherwise. */
  readonly taskWorkers: boolean;
}

const backendFeatures = 1n << BigInt(VHOST_BACKEND_F_IOTLB_MSG_V2);
const userSpaceEnd = 1n << 47n;
/** Bytes of memory that one byte of the dirty log stands for. */
const LOGGED_BY_BYTE = 8n * 4096n;

/** Like access_ok(): a range of user space, mapped or not. */
function accessible(address: bigint, size = 0n): boolean {
  return address >= 0n && address + size <= userSpaceEnd;
}

/** Where the log of a device is that would mark what it writes. */
function logged({ logBase = 0n }: VhostFile, features: bigint): bigint | undefined {
  return (features & bit(VHOST_F_LOG_ALL)) === 0n ? undefined : logBase;
}

/** Like vq_memory_access_ok(): whether all of the memory, and its part of the log, is in user space. */
function reachable(table: readonly MemoryTableEntry[] = [], log?: bigint): boolean {
  return table.every(
    ({ guestPhysicalAddress, size, userAddress }) =>
      accessible(userAddress, size) &&
      (log === undefined ||
        accessible(
          log + guestPhysicalAddress / LOGGED_BY_BYTE,
          (size + LOGGED_BY_BYTE - 1n) / LOGGED_BY_BYTE,
        )),
  );
}

/** Like vhost_log_access_ok(), which looks only while a queue runs. */
function logReachable(file: VhostFile, features: bigint): boolean {
  const log = logged(file, features);
  return log === undefined || !file.running || reachable(file.memoryTable, log);
}

/** The vhost-net devices of a fake kernel, like drivers/vhost/net.c and drivers/vhost/vhost.c. */
export class FakeVhost implements VhostSurface {
  device: FakeDevice = {};
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly memories: FakeMemory;
  private readonly schedule: Schedule;
  private readonly offer: VhostOffer;
  private readonly workers: FakeWorkers;
  private readonly files = new Set<VhostFile>();
  private readonly turns = new Set<FakeQueue>();

  constructor(
    trace: Trace,
    descriptors: FakeDescriptors,
    memories: FakeMemory,
    schedule: Schedule,
    offer: VhostOffer,
    workers: FakeWorkers,
  ) {
    this.trace = trace;
    this.descriptors = descriptors;
    this.memories = memories;
    this.schedule = schedule;
    this.offer = offer;
    this.workers = workers;
    memories.users.add((entry, address, size) => this.guard(entry, address, size));
  }

  open(path: string): number {
    const entry = this.trace.enter('vhost.open', [path]);
    if (path !== '/dev/vhost-net') throw entry.refuse('ENOENT');
    const file = new VhostFile(
      this.memories,
      (queue) => this.turn(queue),
      (ended) => this.ended(ended),
    );
    file.forkFromOwner = this.offer.taskWorkers ? VHOST_FORK_OWNER_TASK : VHOST_FORK_OWNER_KTHREAD;
    this.files.add(file);
    return this.descriptors.install(file);
  }

  getFeatures(fd: number): bigint {
    this.file(this.trace.enter('vhost.getFeatures', [fd]), fd);
    return this.offer.features;
  }

  setFeatures(fd: number, features: bigint): void {
    const entry = this.trace.enter('vhost.setFeatures', [fd, features]);
    const file = this.file(entry, fd);
    if (features & ~this.offer.features) throw entry.refuse('EOPNOTSUPP');
    if (!logReachable(file, features)) throw entry.refuse('EFAULT');
    file.agree(features);
    file.extendedFeatures = [];
  }

  getFeaturesArray(fd: number, words: number): bigint[] {
    const entry = this.trace.enter('vhost.getFeaturesArray', [fd, words]);
    const file = this.file(entry, fd);
    const { features, extendedFeatures } = this.offer;
    if (!extendedFeatures) throw this.unknown(entry, file, words);
    const all = [features, ...extendedFeatures];
    const answer = Array.from({ length: words }, (_, index) => all[index] ?? 0n);
    // Linux 6.17 clears the surplus from the start of the answer instead of after what it wrote.
    const surplus = Math.max(0, words - all.length);
    return answer.fill(0n, 0, surplus);
  }

  setFeaturesArray(fd: number, words: readonly bigint[]): void {
    const entry = this.trace.enter('vhost.setFeaturesArray', [fd, words]);
    const file = this.file(entry, fd);
    const { features, extendedFeatures } = this.offer;
    if (!extendedFeatures) throw this.unknown(entry, file, words.length);
    const all = [features, ...extendedFeatures];
    if (words.some((word, index) => (word & ~(all[index] ?? 0n)) !== 0n)) throw entry.refuse('EOPNOTSUPP');
    if (!logReachable(file, words[0] ?? 0n)) throw entry.refuse('EFAULT');
    file.agree(words[0] ?? 0n);
    file.extendedFeatures = words.slice(1, all.length);
  }

  setOwner(fd: number): void {
    const entry = this.trace.enter('vhost.setOwner', [fd]);
    const file = this.file(entry, fd);
    if (file.owned) throw entry.refuse('EBUSY');
    file.owned = true;
    this.workers.start(file);
  }

  resetOwner(fd: number): void {
    const file = this.owned(this.trace.enter('vhost.resetOwner', [fd]), fd);
    for (const queue of file.queues) this.detach(queue);
    file.reset();
    // Like vhost_dev_reset_owner(), which leaves a table without regions where open(2) leaves none.
    file.memoryTable = [];
    this.workers.stop(file);
  }

  setMemTable(fd: number, regions: readonly MemoryTableEntry[]): void {
    const entry = this.trace.enter('vhost.setMemTable', [fd, regions]);
    const file = this.owned(entry, fd);
    if (regions.length > VHOST_MAX_MEM_REGIONS) throw entry.refuse('E2BIG');
    // Like vhost_iotlb_add_range(), to which nothing at address 0 is everything.
    if (regions.some(({ guestPhysicalAddress, size }) => size === 0n && guestPhysicalAddress > 0n))
      throw entry.refuse('EFAULT');
    if (file.running && !reachable(regions, logged(file, file.features))) throw entry.refuse('EFAULT');
    for (const { size, userAddress } of regions) {
      // The kernel finds out when the device touches it.
      if (!this.memories.find(userAddress, Number(size)))
        entry.note(`nothing is mapped at ${hex(userAddress)}`);
    }
    file.setMemoryTable(regions);
  }

  setLogBase(fd: number, address: bigint): void {
    const entry = this.trace.enter('vhost.setLogBase', [fd, address]);
    const file = this.owned(entry, fd);
    if (file.running && logged(file, file.features) !== undefined && !reachable(file.memoryTable, address))
      throw entry.refuse('EFAULT');
    file.logBase = address;
  }

  setLogFd(fd: number, logFd: number): void {
    const entry = this.trace.enter('vhost.setLogFd', [fd, logFd]);
    this.owned(entry, fd).setLogEvent(this.eventfd(entry, logFd));
  }

  setVringNum(fd: number, queue: number, size: number): void {
    const entry = this.trace.enter('vhost.setVringNum', [fd, queue, size]);
    const vring = this.queue(entry, fd, queue);
    if (vring.backend) throw entry.refuse('EBUSY');
    if (size <= 0 || size > 0xffff || (size & (size - 1)) !== 0) throw entry.refuse('EINVAL');
    vring.size = size;
  }

  setVringAddr(fd: number, queue: number, addresses: VringAddresses): void {
    const entry = this.trace.enter('vhost.setVringAddr', [fd, queue, addresses]);
    const vring = this.queue(entry, fd, queue);
    const { flags, descriptorTable, availableRing, usedRing, log } = addresses;
    if (flags & ~(1 << VHOST_VRING_F_LOG)) throw entry.refuse('EOPNOTSUPP');
    // The alignment of the descriptor table is not looked at.
    if (
      availableRing % BigInt(VRING_AVAIL_ALIGN_SIZE) !== 0n ||
      usedRing % BigInt(VRING_USED_ALIGN_SIZE) !== 0n ||
      log % BigInt(VRING_USED_ALIGN_SIZE) !== 0n
    )
      throw entry.refuse('EINVAL');
    if (vring.backend && ![descriptorTable, availableRing, usedRing].every((address) => accessible(address)))
      throw entry.refuse('EINVAL');
    vring.device.setAddresses(vring, addresses);
  }

  setVringBase(fd: number, queue: number, base: number): void {
    const entry = this.trace.enter('vhost.setVringBase', [fd, queue, base]);
    const vring = this.queue(entry, fd, queue);
    if (vring.backend) throw entry.refuse('EBUSY');
    if (base < 0 || base > 0xffff) throw entry.refuse('EINVAL');
    vring.base = base;
  }

  getVringBase(fd: number, queue: number): number {
    return this.queue(this.trace.enter('vhost.getVringBase', [fd, queue]), fd, queue).base;
  }

  setVringEndian(fd: number, queue: number, endian: number): void {
    const entry = this.trace.enter('vhost.setVringEndian', [fd, queue, endian]);
    const vring = this.queue(entry, fd, queue);
    if (!this.offer.crossEndian) throw entry.refuse('ENOTTY');
    if (vring.backend) throw entry.refuse('EBUSY');
    if (endian !== VHOST_VRING_LITTLE_ENDIAN && endian !== VHOST_VRING_BIG_ENDIAN)
      throw entry.refuse('EINVAL');
    vring.endian = endian;
  }

  getVringEndian(fd: number, queue: number): number {
    const entry = this.trace.enter('vhost.getVringEndian', [fd, queue]);
    const vring = this.queue(entry, fd, queue);
    if (!this.offer.crossEndian) throw entry.refuse('ENOTTY');
    return vring.endian;
  }

  setVringKick(fd: number, queue: number, eventFd: number): void {
    const entry = this.trace.enter('vhost.setVringKick', [fd, queue, eventFd]);
    this.queue(entry, fd, queue).kick = this.eventfd(entry, eventFd);
  }

  setVringCall(fd: number, queue: number, eventFd: number): void {
    const entry = this.trace.enter('vhost.setVringCall', [fd, queue, eventFd]);
    this.queue(entry, fd, queue).callEvent = this.eventfd(entry, eventFd);
  }

  setVringErr(fd: number, queue: number, eventFd: number): void {
    const entry = this.trace.enter('vhost.setVringErr', [fd, queue, eventFd]);
    this.queue(entry, fd, queue).errorEvent = this.eventfd(entry, eventFd);
  }

  setVringBusyloopTimeout(fd: number, queue: number, microseconds: number): void {
    const entry = this.trace.enter('vhost.setVringBusyloopTimeout', [fd, queue, microseconds]);
    this.queue(entry, fd, queue).busyloopTimeout = microseconds;
  }

  getVringBusyloopTimeout(fd: number, queue: number): number {
    const entry = this.trace.enter('vhost.getVringBusyloopTimeout', [fd, queue]);
    return this.queue(entry, fd, queue).busyloopTimeout;
  }

  setBackendFeatures(fd: number, features: bigint): void {
    const entry = this.trace.enter('vhost.setBackendFeatures', [fd, features]);
    const file = this.file(entry, fd);
    if (features & ~backendFeatures) throw entry.refuse('EOPNOTSUPP');
    file.backendFeatures = features;
  }

  getBackendFeatures(fd: number): bigint {
    this.file(this.trace.enter('vhost.getBackendFeatures', [fd]), fd);
    return backendFeatures;
  }

  newWorker(fd: number): number {
    const entry = this.trace.enter('vhost.newWorker', [fd]);
    throw this.unknown(entry, this.file(entry, fd), 0);
  }

  freeWorker(fd: number, worker: number): void {
    const entry = this.trace.enter('vhost.freeWorker', [fd, worker]);
    throw this.unknown(entry, this.file(entry, fd), worker);
  }

  attachVringWorker(fd: number, queue: number, worker: number): void {
    const entry = this.trace.enter('vhost.attachVringWorker', [fd, queue, worker]);
    throw this.unknown(entry, this.file(entry, fd), queue);
  }

  getVringWorker(fd: number, queue: number): number {
    const entry = this.trace.enter('vhost.getVringWorker', [fd, queue]);
    throw this.unknown(entry, this.file(entry, fd), queue);
  }

  setForkFromOwner(fd: number, value: number): void {
    const entry = this.trace.enter('vhost.setForkFromOwner', [fd, value]);
    const file = this.file(entry, fd);
    if (!this.offer.forkControl) throw this.unknown(entry, file, value);
    if (file.owned) throw entry.refuse('EBUSY');
    if (value < 0 || value > VHOST_FORK_OWNER_TASK) throw entry.refuse('EINVAL');
    file.forkFromOwner = value;
  }

  getForkFromOwner(fd: number): number {
    const entry = this.trace.enter('vhost.getForkFromOwner', [fd]);
    const file = this.file(entry, fd);
    if (!this.offer.forkControl) throw this.unknown(entry, file, 0);
    return file.forkFromOwner;
  }

  netSetBackend(fd: number, queue: number, backendFd: number): void {
    const entry = this.trace.enter('vhost.netSetBackend', [fd, queue, backendFd]);
    const vring = this.ready(entry, fd, queue);
    if (backendFd === -1) {
      if (this.detach(vring) instanceof Promise) entry.note('this detach would block the loop');
      return;
    }
    const socket = this.socket(entry, backendFd);
    if (socket !== vring.backend) this.attach(entry, vring, socket);
  }

  netDetachBackend(fd: number, queue: number): Promise<void> {
    const args = [fd, queue];
    let entry: Entry;
    let vring: FakeQueue;
    try {
      entry = this.trace.enter('vhost.netDetachBackend', args);
      vring = this.ready(entry, fd, queue);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.detachLater(vring);
  }

  /** The queue of a device that is open, for a test to act on as the worker would. */
  openQueue(fd: number, queue: number): FakeQueue {
    const file = this.descriptors.peek(fd);
    const found = file instanceof VhostFile ? file.queues[queue] : undefined;
    if (!found) throw new Error(`descriptor ${fd} is no open vhost device with a queue ${queue}`);
    return found;
  }

  private async detachLater(vring: FakeQueue): Promise<void> {
    vring.device.detaching++;
    try {
      // Until the thread of the pool gets there the queue runs on.
      await this.schedule.turn();
      await this.detach(vring);
    } finally {
      vring.device.detaching--;
    }
  }

  private attach(entry: Entry, vring: FakeQueue, socket: OpenFile): void {
    // Like vhost_vq_init_access(), which reads the used index from the ring and so touches memory for the
    // first time.
    const used = vring.memory(vring.addresses.usedRing, VRING_USED_IDX_OFFSET + 2);
    if (!used) {
      vring.error();
      throw entry.refuse('EFAULT');
    }
    if (socket.broken) throw entry.refuse('EINVAL');
    vring.usedIndex = new DataView(used.buffer).getUint16(used.offset + VRING_USED_IDX_OFFSET, true);
    vring.setBackend(socket);
    this.device.attached?.(vring);
    // A socket that can be written to wakes the transmit queue by itself, without a kick.
    if (vring.index === VHOST_NET_VQ_TX) this.turn(vring);
  }

  private detach(vring: FakeQueue): void | Promise<void> {
    vring.device.iotlb?.clear();
    if (!vring.backend) return;
    vring.setBackend(undefined);
    return this.device.detached?.(vring);
  }

  /** The last descriptor of a device closed: like vhost_net_release(), which stops and drains the queues. */
  private ended(file: VhostFile): void {
    for (const queue of file.queues) this.detach(queue);
    this.workers.stop(file);
    this.files.delete(file);
  }

  /** Lets the device work on a queue, once however often it was woken meanwhile. */
  private turn(vring: FakeQueue): void {
    if (this.turns.has(vring)) return;
    this.turns.add(vring);
    this.schedule.later(() => {
      this.turns.delete(vring);
      if (vring.backend) this.device.kicked?.(vring);
    });
  }

  /** Memory is about to go: a device that knows it would write to what comes there next. */
  private guard(entry: Entry, address: bigint, size: number): void {
    for (const file of this.files) {
      const part = file.knows(address, size);
      if (part === undefined) continue;
      const state = file.running ? 'runs on' : 'still has';
      entry.violation(`memory at ${hex(address)} unmapped while an open vhost device ${state} it: ${part}`);
    }
  }

  private file(entry: Entry, fd: number): VhostFile {
    return this.descriptors.file(entry, fd, VhostFile, 'ENOTTY');
  }

  private owned(entry: Entry, fd: number): VhostFile {
    const file = this.file(entry, fd);
    if (!file.owned) throw entry.refuse('EPERM');
    return file;
  }

  private queue(entry: Entry, fd: number, queue: number): FakeQueue {
    const vring = this.owned(entry, fd).queues[queue];
    if (!vring) throw entry.refuse('ENOBUFS');
    return vring;
  }

  /** A queue that VHOST_NET_SET_BACKEND accepts: the kernel checks it for a detach too. */
  private ready(entry: Entry, fd: number, queue: number): FakeQueue {
    const vring = this.queue(entry, fd, queue);
    const { descriptorTable, availableRing, usedRing } = vring.addresses;
    const { device } = vring;
    if (!device.memoryTable) throw entry.refuse('EFAULT');
    if (!reachable(device.memoryTable, logged(device, device.features))) throw entry.refuse('EFAULT');
    const translated = vring.device.iotlb !== undefined;
    if (!translated && ![descriptorTable, availableRing, usedRing].every((address) => accessible(address)))
      throw entry.refuse('EFAULT');
    return vring;
  }

  /** Like get_socket(), which answers everything it does not like with one errno. */
  private socket(entry: Entry, fd: number): OpenFile {
    const file = this.descriptors.peek(fd);
    if (!file) entry.violation(`descriptor ${fd} is not open`);
    if (file instanceof TapFile || (file instanceof SocketFile && file.isRawPacket)) return file;
    throw entry.refuse('ENOTSOCK');
  }

  private eventfd(entry: Entry, fd: number): EventFile | undefined {
    return fd === -1 ? undefined : this.descriptors.file(entry, fd, EventFile, 'EINVAL');
  }

  /**
   * A request that the kernel does not know: vhost_vring_ioctl() takes the first 32 bits of its argument for
   * the index of a queue before it looks at the request.
   */
  private unknown(entry: Entry, file: VhostFile, firstWord: number): Error {
    if (!file.owned) return entry.refuse('EPERM');
    return entry.refuse(firstWord >= file.queues.length ? 'ENOBUFS' : 'ENOTTY');
  }
}
