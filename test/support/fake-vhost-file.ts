import { constants } from 'node:fs';
import { bit } from '../../lib/abi/bit.js';
import { MISC_MAJOR } from '../../lib/abi/major.js';
import { VHOST_BACKEND_F_IOTLB_MSG_V2, VHOST_F_LOG_ALL } from '../../lib/abi/vhost.js';
import { VHOST_NET_MINOR, VHOST_NET_VQ_MAX } from '../../lib/abi/vhost-net.js';
import { VIRTIO_F_ACCESS_PLATFORM } from '../../lib/abi/virtio-config.js';
import type { MemoryTableEntry, VringAddresses } from '../../lib/kernel/kernel.js';
import type { EventFile } from './fake-eventfd.js';
import { OpenFile } from './fake-file.js';
import { FakeIotlb } from './fake-iotlb.js';
import type { FakeMemory, Place } from './fake-memory.js';
import { FakeQueue } from './fake-queue.js';
import type { Entry } from './fake-trace.js';

/** An open /dev/vhost-net, like `struct vhost_net`. */
export class VhostFile extends OpenFile {
  owned = false;
  features = 0n;
  /** Words beyond the first of the features. */
  extendedFeatures: readonly bigint[] = [];
  backendFeatures = 0n;
  memoryTable: readonly MemoryTableEntry[] | undefined;
  logBase: bigint | undefined;
  logEvent: EventFile | undefined;
  forkFromOwner = 1;
  /** Threads that are inside VHOST_NET_SET_BACKEND. */
  detaching = 0;
  /** Translates for the queues while VIRTIO_F_ACCESS_PLATFORM is agreed. */
  iotlb: FakeIotlb | undefined;
  readonly queues: readonly FakeQueue[];
  private readonly memories: FakeMemory;
  private readonly turn: (queue: FakeQueue) => void;
  private readonly ended: (file: VhostFile) => void;

  constructor(memories: FakeMemory, kicked: (queue: FakeQueue) => void, ended: (file: VhostFile) => void) {
    super('vhost', constants.S_IFCHR, MISC_MAJOR, VHOST_NET_MINOR);
    this.memories = memories;
    this.turn = kicked;
    this.ended = ended;
    this.queues = Array.from({ length: VHOST_NET_VQ_MAX }, (_, index) => new FakeQueue(this, index, kicked));
  }

  /** Like vhost_net_set_features(): whatever was mapped before is gone. */
  agree(features: bigint): void {
    this.features = features;
    this.iotlb =
      (features & bit(VIRTIO_F_ACCESS_PLATFORM)) === 0n
        ? undefined
        : new FakeIotlb(() => this.wake(), this.turn);
  }

  override get readable(): boolean {
    return this.iotlb?.readable ?? false;
  }

  get running(): boolean {
    return this.queues.some(({ backend }) => backend !== undefined);
  }

  memory(address: bigint, length: number): Place | undefined {
    return this.memories.find(address, length);
  }

  guest(address: bigint, length: number): Place | undefined {
    for (const { guestPhysicalAddress, size, userAddress } of this.memoryTable ?? []) {
      const offset = address - guestPhysicalAddress;
      if (offset >= 0n && offset + BigInt(length) <= size) return this.memory(userAddress + offset, length);
    }
    return undefined;
  }

  /** Rings that were told before the memory table. */
  readonly #stale = new Set<FakeQueue>();

  /** Takes a memory table; rings were told for the one before. */
  setMemoryTable(regions: readonly MemoryTableEntry[]): void {
    this.memoryTable = regions.map((region) => ({ ...region }));
    for (const queue of this.queues) this.#stale.add(queue);
  }

  /** Takes the addresses of a ring. */
  setAddresses(queue: FakeQueue, addresses: VringAddresses): void {
    queue.addresses = { ...addresses };
    this.#stale.delete(queue);
  }

  /** What in this range of user addresses the device was told of. */
  knows(address: bigint, size: number): string | undefined {
    const end = address + BigInt(size);
    const within = (other: bigint) => other >= address && other < end;
    if (
      this.memoryTable?.some((entry) => entry.userAddress < end && entry.userAddress + entry.size > address)
    )
      return 'its memory table';
    for (const queue of this.queues) {
      const { index, addresses } = queue;
      // Told before the table that there is now, and not looked at before it is told anew.
      if (queue.backend === undefined && this.#stale.has(queue)) continue;
      const { descriptorTable, availableRing, usedRing } = addresses;
      if ([descriptorTable, availableRing, usedRing].some(within)) return `the ring of queue ${index}`;
    }
    // The base stays when VHOST_F_LOG_ALL goes, and nothing is written there any more.
    const logging = (this.features & (1n << BigInt(VHOST_F_LOG_ALL))) !== 0n;
    if (logging && this.logBase !== undefined && within(this.logBase)) return 'its dirty log';
    return undefined;
  }

  setLogEvent(file: EventFile | undefined): void {
    file?.hold();
    this.logEvent?.drop();
    this.logEvent = file;
  }

  /** As after open(2): like vhost_vq_reset(), which forgets what was agreed on as well. */
  reset(): void {
    for (const queue of this.queues) queue.reset();
    this.agree(0n);
    this.extendedFeatures = [];
    this.backendFeatures = 0n;
    this.setLogEvent(undefined);
    this.memoryTable = undefined;
    this.logBase = undefined;
    this.owned = false;
  }

  override closing(entry: Entry, fd: number): void {
    if (this.detaching > 0) {
      entry.violation(`descriptor ${fd} closed while a backend is being detached on it`);
      throw entry.refuse('EBUSY');
    }
    for (const { backend, index } of this.queues)
      if (backend) entry.note(`descriptor ${fd} closed with a backend on queue ${index}`);
  }

  override read(entry: Entry, buffer: Uint8Array): number {
    // The descriptor does not block, so that one without an IOTLB has just no messages.
    if (this.iotlb === undefined) throw entry.refuse('EAGAIN');
    return this.iotlb.read(entry, buffer, (this.backendFeatures & bit(VHOST_BACKEND_F_IOTLB_MSG_V2)) !== 0n);
  }

  override write(entry: Entry, buffer: Uint8Array): number {
    if (this.iotlb === undefined) throw entry.refuse('EFAULT');
    return this.iotlb.write(entry, buffer);
  }

  protected override released(): void {
    this.ended(this);
    this.reset();
  }
}
