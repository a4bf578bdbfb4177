import { bit } from '../abi/bit.js';
import { featureNames } from '../abi/feature-names.js';
import {
  VHOST_F_LOG_ALL,
  VHOST_FORK_OWNER_KTHREAD,
  VHOST_FORK_OWNER_TASK,
  VHOST_NET_F_VIRTIO_NET_HDR,
  VHOST_VRING_F_LOG,
} from '../abi/vhost.js';
import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_IN_ORDER, VIRTIO_F_VERSION_1 } from '../abi/virtio-config.js';
import { VIRTIO_NET_F_MRG_RXBUF } from '../abi/virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, VRING_DESC_SIZE } from '../abi/virtio-ring.js';
import type { Backend, LinkState } from '../backend/backend.js';
import { BusyPoll } from '../completion/busy-poll.js';
import type { DirtyLog } from '../completion/dirty-log.js';
import { Ledger } from '../completion/ledger.js';
import type { WaitOptions } from '../completion/waiters.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel, Poller } from '../kernel/kernel.js';
import type { FramePool } from '../memory/frame-pool.js';
import type { Allocation, GuestMemory } from '../memory/guest-memory.js';
import type { Region } from '../memory/region.js';
import { Iotlb, type Translator } from '../vhost/iotlb.js';
import { KernelVhost } from '../vhost/kernel-vhost.js';
import type { KernelWorker } from '../vhost/kernel-worker.js';
import type { Awaitable, Vhost } from '../vhost/vhost.js';
import { WorkerVhost } from '../vhost/worker/worker-vhost.js';
import { DriverRing, type RingAddresses } from '../vring/driver-ring.js';
import { splitRingLayout } from '../vring/layout.js';
import type { RingJournal } from '../vring/ring-journal.js';
import { HEADER_SIZE } from './header.js';
import { ReceiveQueue } from './receive-queue.js';
import type { Teardown } from './teardown.js';
import { MAX_SEGMENTED_FRAME, TransmitQueue } from './transmit-queue.js';

/** Of so many frames at the ring tier, one batch tells how long it took. */
const RING_TIER_TIMES = 4096;
/** Milliseconds between two looks at what a device has returned. */
const LOOK_INTERVAL = 5;
/** Features that a program chooses. */
const CHOSEN = bit(VIRTIO_F_ACCESS_PLATFORM) | bit(VIRTIO_F_IN_ORDER);
/** Bytes that an invalidation of the whole address space has: one less than 2^64, which is no u64. */
const EVERY_ADDRESS = 0xffff_ffff_ffff_ffffn;

/** What serves the queues of a pair: the kernel's vhost-net, a `WorkerVhost`, or any other `Vhost`. */
export type DeviceKind = 'kernel' | 'worker' | 'other';

/** What a queue pair tells of: a call of the device on a queue, an error or a lie of it, an address that it may not reach. */
export interface QueuePairEvents {
  called(queue: number, count: number): void;
  failed(queue: number, count: number): void;
  /** What the device wrote into a ring cannot be true. */
  corrupted(queue: number, error: VhostError): void;
  faulted(error: VhostError): void;
  /** A device that was stopped had taken chains that it never returned. */
  lost(queue: number, count: number): void;
}

export interface QueuePairOptions {
  readonly kernel: Kernel;
  /** Opens the device; the pair closes it. */
  readonly openVhost: () => Awaitable<Vhost>;
  /** What the kernel's worker is to be; without, as the kernel has it. */
  readonly worker: KernelWorker['kind'] | undefined;
  readonly memory: GuestMemory;
  /** Where the rings lie. */
  readonly ringRegion: Region;
  readonly pool: FramePool;
  /** Where the rings remember what another process would have to know; without, nowhere else. */
  readonly journals: RingJournals | undefined;
  /** Takes the rings over as they are, where these features were agreed when they were left. */
  readonly takeOver: bigint | undefined;
  /** Bytes of header that the backend's descriptor carries; 0 lets vhost supply it. */
  readonly backendHeaderSize: number;
  readonly mtu: number;
  readonly receiveSize: number;
  readonly transmitSize: number;
  readonly reserve: number;
  /** Buffers that the receive queue may post at most. */
  readonly mostReceive: number;
  readonly maxFrames: number;
  readonly maxBytes: number;
  /** Microseconds that the device and this program poll before they sleep. */
  readonly busyPoll: { readonly device: number; readonly driver: number };
  /** Has the device's addresses translated; without, they are guest physical addresses. */
  readonly translator: Translator | undefined;
  /** Has the device return chains in the order of posting (VIRTIO_F_IN_ORDER). */
  readonly inOrder: boolean;
  readonly events: QueuePairEvents;
  /** Gathers what closes the pair. */
  readonly teardown: Teardown;
}

/** The eventfds of a pair, by queue. */
interface QueueEventfds {
  readonly kicks: readonly number[];
  readonly calls: readonly number[];
  readonly errors: readonly number[];
}

/** The journal of each ring of a pair. */
export interface RingJournals {
  readonly receive: RingJournal;
  readonly transmit: RingJournal;
}

/** Descriptors of the longest frame in buffers of this size: what an indirect table must hold. */
function tableEntries(bufferSize: number): number {
  return Math.ceil((MAX_SEGMENTED_FRAME + HEADER_SIZE) / bufferSize);
}

/** Bytes that the rings and indirect tables of a pair take in guest memory. */
export function queuePairBytes(receiveSize: number, transmitSize: number, bufferSize: number): number {
  const rings = splitRingLayout(receiveSize).bytes + splitRingLayout(transmitSize).bytes;
  return rings + transmitSize * tableEntries(bufferSize) * VRING_DESC_SIZE + 2 * 64;
}

/**
 * A vhost device with its receive and its transmit queue: rings, eventfds, and the requests that set them up, in the
 * order of VIRTIO 1.3 §3.1 Device Initialization and of the kernel's contract.
 */
export class QueuePair {
  readonly receive: ReceiveQueue;
  readonly transmit: TransmitQueue;
  readonly #vhost: Vhost;
  /** Has the device's addresses translated, where VIRTIO_F_ACCESS_PLATFORM is agreed. */
  readonly iotlb: Iotlb | undefined;
  readonly #options: QueuePairOptions;
  readonly #eventfds: QueueEventfds;
  readonly #pollers: Poller[] = [];
  readonly #attached = [false, false];
  readonly #linkStates: (LinkState | undefined)[] = [undefined, undefined];
  #features: bigint;
  #log: DirtyLog | undefined;
  /** How the device sent over the backend before. */
  #sentIn: LinkState | undefined;
  /** The device was reset and is not set up again yet. */
  #reset = false;
  #lostBuffers = 0;
  /** What was taken over is still another's, should this opening fail. */
  #inherits = false;

  private constructor(
    options: QueuePairOptions,
    vhost: Vhost,
    features: bigint,
    iotlb: Iotlb | undefined,
    eventfds: QueueEventfds,
    receive: ReceiveQueue,
    transmit: TransmitQueue,
  ) {
    this.#options = options;
    this.#vhost = vhost;
    this.#features = features;
    this.iotlb = iotlb;
    this.#eventfds = eventfds;
    this.receive = receive;
    this.transmit = transmit;
  }

  /** Sets the device up, detached; `teardown` gains the steps that undo it. */
  static async open(options: QueuePairOptions): Promise<QueuePair> {
    const { kernel, memory, pool, busyPoll, events, teardown } = options;
    const eventfds = (): readonly number[] => {
      const eventfd = (): number => {
        const fd = kernel.eventfd.create();
        teardown.add(() => kernel.descriptor.close(fd));
        return fd;
      };
      return [eventfd(), eventfd()];
    };
    const kicks = eventfds();
    const calls = eventfds();
    const errors = eventfds();
    const all = { kicks, calls, errors };
    const shares: Allocation[] = [];
    teardown.add(() => {
      for (const share of shares) share.free();
    });
    let pair: QueuePair | undefined;
    // Whatever a detach could not settle, the closed device has let go of.
    teardown.add(() => pair?.settle());
    const vhost = await options.openVhost();
    teardown.add(() => vhost.close());
    await own(vhost, options.worker);
    const { translator, inOrder } = options;
    const chosen =
      (translator === undefined ? 0n : bit(VIRTIO_F_ACCESS_PLATFORM)) |
      (inOrder ? bit(VIRTIO_F_IN_ORDER) : 0n);
    const features = agreeFeatures(await vhost.getFeatures(), options.backendHeaderSize, chosen);
    if (options.takeOver !== undefined) checkSameRings(options.takeOver, features);
    await vhost.setFeatures(features);
    await vhost.setMemTable(memory);
    const iotlb = translator && (await Iotlb.open(vhost, translator, options.events.faulted));
    if (iotlb !== undefined) {
      teardown.add(() => iotlb.close());
      // A region that goes takes its translations with it.
      teardown.add(memory.observe(() => iotlb.invalidate(0n, EVERY_ADDRESS)));
    }

    const eventIdx = (features & bit(VIRTIO_RING_F_EVENT_IDX)) !== 0n;
    const { journals } = options;
    const ring = (queue: number, size: number, entries: number, journal?: RingJournal): DriverRing => {
      const { bytes } = splitRingLayout(size);
      const share = memory.allocate(bytes + size * entries * VRING_DESC_SIZE, undefined, {
        region: options.ringRegion,
        use: () => `the ring of queue ${queue}`,
      });
      shares.push(share);
      const { region, offset } = share;
      const indirect = entries === 0 ? undefined : { offset: offset + bytes, entries };
      return new DriverRing({
        region,
        offset,
        size,
        queue,
        eventIdx,
        inOrder,
        ...(indirect && { indirect }),
        ...(journal && { journal }),
        takeOver: options.takeOver !== undefined,
      });
    };
    const indirect = (features & bit(VIRTIO_RING_F_INDIRECT_DESC)) !== 0n;
    const rings = [
      ring(VHOST_NET_VQ_RX, options.receiveSize, 0, journals?.receive),
      ring(
        VHOST_NET_VQ_TX,
        options.transmitSize,
        indirect ? tableEntries(pool.bufferSize) : 0,
        journals?.transmit,
      ),
    ] as const;
    const made = new QueuePair(
      options,
      vhost,
      features,
      iotlb,
      all,
      new ReceiveQueue({
        ring: rings[VHOST_NET_VQ_RX],
        ledger: ringTierLedger(options.receiveSize),
        pool,
        kick: () => kernel.eventfd.signal(kicks[VHOST_NET_VQ_RX]!),
        busyPoll: new BusyPoll(busyPoll.driver),
        mergeable: (features & bit(VIRTIO_NET_F_MRG_RXBUF)) !== 0n,
        reserve: options.reserve,
        most: options.mostReceive,
        corrupted: (error) => events.corrupted(VHOST_NET_VQ_RX, error),
      }),
      new TransmitQueue({
        ring: rings[VHOST_NET_VQ_TX],
        ledger: ringTierLedger(options.transmitSize),
        pool,
        kick: () => kernel.eventfd.signal(kicks[VHOST_NET_VQ_TX]!),
        busyPoll: new BusyPoll(busyPoll.driver),
        mtu: options.mtu,
        maxFrames: options.maxFrames,
        maxBytes: options.maxBytes,
        corrupted: (error) => events.corrupted(VHOST_NET_VQ_TX, error),
      }),
    );
    await made.#setUpQueues();
    if (options.takeOver !== undefined) {
      made.#lostBuffers = made.receive.takeOver();
      made.transmit.takeOver();
    }
    pair = made;
    made.#inherits = options.takeOver !== undefined;
    teardown.add(() => made.detach(VHOST_NET_VQ_RX, true));
    teardown.add(() => made.detach(VHOST_NET_VQ_TX, true));
    const watch = (fd: number, callback: (count: number) => void): void => {
      const poller = kernel.poller.watchEventfd(fd, callback);
      made.#pollers.push(poller);
      teardown.add(() => poller.close());
    };
    for (const queue of rings.keys()) {
      watch(calls[queue]!, (count) => events.called(queue, count));
      watch(errors[queue]!, (count) => events.failed(queue, count));
    }
    return made;
  }

  /** Readies the device for a backend, both queues being detached. */
  async prepare({ headerSize, linkState }: Pick<Backend, 'headerSize' | 'linkState'>): Promise<void> {
    const vhost = this.#vhost;
    const features = agreeFeatures(await vhost.getFeatures(), headerSize, this.#features & CHOSEN);
    // Frames sent in one link state leave counts in vhost_net_virtqueue (done_idx, upend_idx) that mean something else in the
    // other, so that the kernel returns heads of long ago. A reset clears them.
    const leftovers = vhost.linkState === undefined && (this.#sentIn ?? linkState) !== linkState;
    if ((leftovers || this.#reset) && vhost.resetOwner !== undefined) {
      this.#features = features;
      await this.#renew();
    } else if (features !== this.#features) {
      await vhost.setFeatures(features | this.#logBit);
      this.#features = features;
    }
    this.#sentIn = linkState;
  }

  /** Has the device begin as new, and sets it up as it was. */
  async #renew(): Promise<void> {
    const vhost = this.#vhost;
    const { worker, memory } = this.#options;
    this.#reset = true;
    await vhost.resetOwner?.();
    await own(vhost, worker);
    await vhost.setFeatures(this.#features | this.#logBit);
    await vhost.setMemTable(memory);
    await this.iotlb?.renew();
    if (this.#log !== undefined) await vhost.setLogBase(this.#log.address, this.#log);
    await this.#setUpQueues();
    this.#reset = false;
  }

  async #setUpQueues(): Promise<void> {
    const vhost = this.#vhost;
    const { kicks, calls, errors } = this.#eventfds;
    const { busyPoll } = this.#options;
    for (const queue of this.#attached.keys()) {
      const { ring } = this.#queue(queue);
      await vhost.setVringNum(queue, ring.size);
      await this.#setAddress(queue);
      await vhost.setVringKick(queue, kicks[queue]!);
      await vhost.setVringCall(queue, calls[queue]!);
      await vhost.setVringErr(queue, errors[queue]!);
      if (busyPoll.device > 0) await vhost.setVringBusyloopTimeout(queue, busyPoll.device);
    }
  }

  /** Starts a queue on a backend's descriptor, at the first frame that no device has taken. */
  async attach(queue: number, backendFd: number): Promise<void> {
    await this.#holdingIotlb(queue, async () => {
      const { ring } = this.#queue(queue);
      await this.#vhost.setVringBase(queue, ring.base);
      // What another backend's frames wanted says nothing of this one's. To send, a device begins without a kick or with.
      if (queue === VHOST_NET_VQ_RX) ring.forgetKick();
      await this.#vhost.setBackend(queue, backendFd);
      this.#attached[queue] = true;
      this.#linkStates[queue] = this.#vhost.linkState?.(queue);
    });
  }

  /**
   * Stops a queue and waits for the device to let go of its buffers. What the device had not taken stays posted for the
   * backend that is attached next, or, with `settle`, is abandoned.
   */
  async detach(queue: number, settle: boolean): Promise<void> {
    if (!this.#attached[queue]) {
      // What waits for the next backend it need not wait for.
      if (settle && !this.#inherits) this.#queue(queue).settle();
      return;
    }
    await this.#holdingIotlb(queue, async () => {
      await this.#vhost.detachBackend(queue);
      this.#attached[queue] = false;
    });
    const stopped = this.#queue(queue);
    let base: number | undefined;
    try {
      base = await this.#vhost.getVringBase(queue);
      const lost = stopped.ring.corruption === undefined ? stopped.ring.lost(base) : 0;
      if (lost > 0) {
        stopped.lost += lost;
        this.#options.events.lost(queue, lost);
      }
    } finally {
      // Of a device that does not say where it stopped nothing can be kept: it may have taken any of it.
      if (!this.#inherits) stopped.settle(settle ? undefined : base);
    }
  }

  /** When the device is done with a frame that it sends, as it said when it was attached last; `undefined`: as its backend. */
  get linkState(): LinkState | undefined {
    return this.#linkStates[VHOST_NET_VQ_TX];
  }

  /** Whether the device takes receive buffers now. */
  get receives(): boolean {
    return this.#attached[VHOST_NET_VQ_RX]! && this.receive.ring.corruption === undefined;
  }

  /** Whether the device waits for more receive buffers than it has. */
  get starved(): boolean {
    return this.receives && this.receive.ring.wantsMore;
  }

  /**
   * Resolves when the device has returned every chain of a queue that it has taken by now; of a queue that does not run,
   * and of a device behind a socket, which tells where it stands only once it is stopped, at once.
   */
  async returned(queue: number, { signal }: WaitOptions = {}): Promise<void> {
    if (!this.#attached[queue]) return;
    const { ring } = this.#queue(queue);
    const taken = await standing(this.#vhost, queue);
    while (taken !== undefined && this.#attached[queue] && ring.lost(taken) > 0) {
      signal?.throwIfAborted();
      // Looks rather than asks for a call: when one comes is for whoever receives to say.
      await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL));
    }
  }

  /** Starts or stops a queue while the IOTLB is still, and its ring within the device's reach. */
  async #holdingIotlb(queue: number, step: () => Promise<void>): Promise<void> {
    const { iotlb } = this;
    if (iotlb === undefined) return step();
    await iotlb.hold(async () => {
      const { ring } = this.#queue(queue);
      const start = BigInt(ring.region.guestPhysicalAddress + ring.offset);
      // vhost_vq_init_access() fails where it misses, and vhost_zerocopy_signal_used() loses what it cannot write.
      const mapped = iotlb.map(start, BigInt(ring.layout.bytes), 'rw');
      // A queue whose ring has gone out of reach is stopped all the same.
      await (this.#attached[queue] ? mapped.catch(() => {}) : mapped);
      await step();
    });
    // To stop a queue, vhost_net_set_backend() forgets what every queue has missed: another would wait for ever.
    for (const other of this.#attached.keys())
      if (other !== queue && this.#attached[other])
        this.#options.kernel.eventfd.signal(this.#eventfds.kicks[other]!);
  }

  /** Has the device mark the pages that it writes, in the buffers as in the used rings. */
  async startLog(log: DirtyLog): Promise<void> {
    this.#log = log;
    await this.#vhost.setLogBase(log.address, log);
    for (const queue of this.#attached.keys()) await this.#setAddress(queue);
    await this.#vhost.setFeatures(this.#features | this.#logBit);
  }

  /** Ends the marking; where that is refused, the device may write the log until it is closed. */
  async stopLog(): Promise<void> {
    if (this.#log === undefined) return;
    await this.#vhost.setFeatures(this.#features);
    this.#log = undefined;
    for (const queue of this.#attached.keys()) await this.#setAddress(queue);
  }

  /** Receive buffers of frames that another driver was taking when it ended. */
  get lostBuffers(): number {
    return this.#lostBuffers;
  }

  /** What was taken over is nobody else's any more. */
  inherit(): void {
    this.#inherits = false;
  }

  /** Leaves the rings to another process, after `detach`; what is in flight here is settled as abandoned. */
  leave(): void {
    this.#inherits = true;
    this.settle();
  }

  /** Settles what no device will return any more. */
  settle(): void {
    for (const queue of [this.receive, this.transmit]) {
      if (this.#inherits) queue.ring.leave();
      queue.settle();
    }
  }

  /** Who serves both queues. */
  get device(): DeviceKind {
    if (this.#vhost instanceof KernelVhost) return 'kernel';
    return this.#vhost instanceof WorkerVhost ? 'worker' : 'other';
  }

  /** The kernel's worker that serves both queues, where one does and shows. */
  async worker(): Promise<KernelWorker | undefined> {
    return this.#vhost.worker?.();
  }

  get #logBit(): bigint {
    return this.#log === undefined ? 0n : bit(VHOST_F_LOG_ALL);
  }

  /** Tells the device where a ring is, and whether writes to it are logged. */
  async #setAddress(queue: number): Promise<void> {
    const flags = this.#log === undefined ? 0 : 1 << VHOST_VRING_F_LOG;
    await this.#vhost.setVringAddr(queue, { ...seenBy(this.iotlb, this.#queue(queue).ring), flags });
  }

  #queue(queue: number): ReceiveQueue | TransmitQueue {
    return queue === VHOST_NET_VQ_RX ? this.receive : this.transmit;
  }

  /** The feature bits agreed. */
  get features(): bigint {
    return this.#features;
  }

  ref(): void {
    this.iotlb?.ref();
    for (const poller of this.#pollers) poller.ref();
  }

  unref(): void {
    this.iotlb?.unref();
    for (const poller of this.#pollers) poller.unref();
  }
}

/** Makes this process the owner of a device, with a worker of a kind where one was chosen. */
async function own(vhost: Vhost, worker: KernelWorker['kind'] | undefined): Promise<void> {
  if (worker !== undefined) await chooseWorker(vhost, worker);
  await vhost.setOwner();
}

/** Says what the kernel's worker of a device will be, which has no owner yet. */
async function chooseWorker(vhost: Vhost, kind: KernelWorker['kind']): Promise<void> {
  if (vhost.setForkFromOwner === undefined)
    throw new VhostError(
      'ERR_VHOST_UNSUPPORTED',
      `the device has no worker of the kernel's that could be a ${kind}`,
      { request: 'VHOST_SET_FORK_FROM_OWNER' },
    );
  await vhost.setForkFromOwner(kind === 'task' ? VHOST_FORK_OWNER_TASK : VHOST_FORK_OWNER_KTHREAD);
}

/** Nobody waits for a frame until the friendly tier says so. */
function ringTierLedger(size: number): Ledger {
  const ledger = new Ledger(size);
  ledger.timeEvery = RING_TIER_TIMES;
  return ledger;
}

/** The available index that the device of a running queue takes next; `undefined` where it does not tell. */
async function standing(vhost: Vhost, queue: number): Promise<number | undefined> {
  try {
    return await vhost.getVringBase(queue);
  } catch (error) {
    if ((error as VhostError).code === 'ERR_VHOST_IN_USE') return undefined;
    throw error;
  }
}

/** The ring's addresses as a device takes them: user addresses, or those that its IOTLB translates. */
function seenBy(iotlb: Iotlb | undefined, ring: DriverRing): RingAddresses {
  return iotlb === undefined ? ring.addresses : ring.guestAddresses;
}

/** Refuses features with which the rings would not mean what they did; who supplies the header does not matter to them. */
function checkSameRings(before: bigint, now: bigint): void {
  const other = ~bit(VHOST_NET_F_VIRTIO_NET_HDR);
  if ((before & other) !== (now & other))
    throw new VhostError(
      'ERR_VHOST_UNSUPPORTED',
      `the device must agree on features 0x${before.toString(16)}, as the one before; it offers 0x${now.toString(16)} of them`,
    );
}

/** What a device has to offer: what every device of this package needs, and what was chosen beyond. */
function agreeFeatures(offered: bigint, backendHeaderSize: number, chosen: bigint): bigint {
  const required =
    bit(VIRTIO_F_VERSION_1) | (backendHeaderSize === 0 ? bit(VHOST_NET_F_VIRTIO_NET_HDR) : 0n) | chosen;
  const missing = required & ~offered;
  if (missing !== 0n)
    throw new VhostError(
      'ERR_VHOST_UNSUPPORTED',
      `the device does not offer ${featureNames(missing).join(', ')}; it offers 0x${offered.toString(16)}`,
    );
  const wanted =
    bit(VIRTIO_RING_F_EVENT_IDX) | bit(VIRTIO_RING_F_INDIRECT_DESC) | bit(VIRTIO_NET_F_MRG_RXBUF);
  return required | (offered & wanted);
}
