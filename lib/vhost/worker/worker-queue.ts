import { bit } from '../../abi/bit.js';
import { VHOST_F_LOG_ALL, VHOST_NET_F_VIRTIO_NET_HDR, VHOST_VRING_F_LOG } from '../../abi/vhost.js';
import { VHOST_NET_VQ_RX } from '../../abi/vhost-net.js';
import { VIRTIO_F_IN_ORDER, VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_VERSION_1 } from '../../abi/virtio-config.js';
import { VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_HDR_SIZE, VIRTIO_NET_HDR_V1_SIZE } from '../../abi/virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX } from '../../abi/virtio-ring.js';
import type { LinkState } from '../../backend/backend.js';
import { type ProgramBackend, programOf } from '../../backend/program.js';
import { Budget } from '../../completion/budget.js';
import { undo } from '../../errors/undo.js';
import type { Kernel, Mapping, Poller, VringAddresses } from '../../kernel/kernel.js';
import type { AddressMap } from '../../memory/address-map.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import { DeviceRing, type RingParts, type WriteLog } from '../../vring/device-ring.js';
import { Inflight } from '../../vring/inflight.js';
import type { RingPart } from '../../vring/layout.js';
import { DescriptorReceivePort, DescriptorTransmitPort } from './descriptor-ports.js';
import type { PageMarks } from './page-marks.js';
import { ProgramReceivePort, ProgramTransmitPort } from './program-ports.js';
import { ReceiveHandler } from './receive-handler.js';
import type { HeaderBytes, QueueFault, RunningQueue, WorkerQueueStats } from './running-queue.js';
import { TransmitHandler } from './transmit-handler.js';
import { WaitingFrames } from './waiting-frames.js';

/** What the queues of a device share. */
export interface DeviceState {
  readonly kernel: Kernel;
  /** Bits agreed on. */
  features: bigint;
  memory: GuestMemory | undefined;
  map: AddressMap | undefined;
  marks: PageMarks | undefined;
  /** An eventfd signalled when pages were marked; -1 for none. */
  logFd: number;
  /** Told why a queue stands still. */
  readonly faulted: (queue: number, fault: QueueFault, error: unknown) => void;
}

/** The eventfds of a queue. */
export type QueueFile = 'kick' | 'call' | 'err';

/** A queue that runs. */
interface Running {
  readonly ring: DeviceRing;
  readonly handler: TransmitHandler | ReceiveHandler;
}

/** A queue of a `WorkerVhost`: what it was told, and, while it has a backend, what serves it. */
export class WorkerQueue {
  readonly index: number;
  readonly stats: WorkerQueueStats = { refused: 0, dropped: 0 };
  /** 1 until it is told, like vhost_vq_reset(). */
  size = 1;
  addresses: VringAddresses | undefined;
  /** Returns chains in order though the driver did not ask for it. */
  ordered = false;
  readonly #device: DeviceState;
  readonly #files: Record<QueueFile, number> = { kick: -1, call: -1, err: -1 };
  readonly #waiting = new WaitingFrames();
  #base = 0;
  /** Where the heads in flight are noted. */
  #inflight: { readonly mapping: Mapping; readonly start: number } | undefined;
  #kicks: Poller | undefined;
  #running: Running | undefined;
  /** What was asked for last and is not done yet. */
  #changing: Promise<void> | undefined;

  constructor(index: number, device: DeviceState) {
    this.index = index;
    this.#device = device;
  }

  get running(): boolean {
    return this.#running !== undefined;
  }

  get base(): number {
    return this.#running?.ring.base ?? this.#base;
  }

  set base(base: number) {
    this.#base = base;
  }

  get linkState(): LinkState {
    return this.#running?.handler.linkState ?? 'sync';
  }

  /** Takes over an eventfd, -1 for none. */
  setFile(file: QueueFile, fd: number): void {
    const { kernel } = this.#device;
    const before = this.#files[file];
    if (file === 'kick') {
      const kicks =
        fd === -1 ? undefined : kernel.poller.watchEventfd(fd, () => this.#running?.handler.kick());
      kicks?.unref();
      this.#kicks?.close();
      this.#kicks = kicks;
    }
    this.#files[file] = fd;
    if (before !== -1) kernel.descriptor.close(before);
  }

  /** Takes over a mapping in which the heads in flight are noted, from a byte on; or none. */
  trackIn(mapping: Mapping | undefined, start: number): void {
    const before = this.#inflight;
    this.#inflight = mapping && { mapping, start };
    if (before !== undefined) this.#device.kernel.memory.unmap(before.mapping);
  }

  /** Bytes that there are to note heads in flight; `undefined` where they are not noted. */
  get inflightRoom(): number | undefined {
    return this.#inflight && this.#inflight.mapping.buffer.byteLength - this.#inflight.start;
  }

  /** Starts on a backend: a descriptor, which becomes the queue's to close, or the number of a program. */
  start(backendFd: number): void {
    const { kernel, features, map } = this.#device;
    const program = programOf(backendFd);
    const has = (feature: number): boolean => (features & bit(feature)) !== 0n;
    const ring = new DeviceRing({
      parts: this.#parts(),
      size: this.size,
      memory: map!,
      eventIdx: has(VIRTIO_RING_F_EVENT_IDX),
      inOrder: has(VIRTIO_F_IN_ORDER) || this.ordered,
      notifyOnEmpty: has(VIRTIO_F_NOTIFY_ON_EMPTY),
      base: this.#base,
      inflight:
        this.#inflight &&
        new Inflight({ buffer: this.#inflight.mapping.buffer, offset: this.#inflight.start }, this.size),
    });
    const running = this.#serve(ring, this.#header(program));
    const handler = this.#open(kernel, running, backendFd, program);
    this.#running = { ring, handler };
    this.moveLog();
    handler.kick();
  }

  /**
   * Stops, where the queue runs, which is when every frame that was taken is completed, and then does `start`; at once
   * where it does not run. What was asked for before comes first.
   */
  replace(start?: () => void): void | Promise<void> {
    const before = this.#changing;
    if (before === undefined && this.#running === undefined) return start?.();
    const stop = (): Promise<void> => this.#stop();
    const stopped = before === undefined ? stop() : before.then(stop, stop);
    const change: Promise<void> = stopped.then(() => {
      if (this.#changing === change) this.#changing = undefined;
      start?.();
    });
    this.#changing = change;
    return change;
  }

  async #stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    await running.handler.stop();
    this.#base = running.ring.base;
    this.#running = undefined;
  }

  /** The memory is another now, or the ring lies elsewhere. */
  move(): void {
    const { ring } = this.#running ?? {};
    if (ring === undefined) return;
    ring.memory = this.#device.map!;
    ring.move(this.#parts());
  }

  /** The log, or what is logged, has changed. */
  moveLog(): void {
    const { ring } = this.#running ?? {};
    if (ring === undefined) return;
    const { flags, log } = this.addresses!;
    ring.usedAddress = (flags & (1 << VHOST_VRING_F_LOG)) === 0 ? -1 : Number(log);
    ring.log = this.#log();
  }

  /** Becomes as new, like vhost_vq_reset(): serves whoever waits no more, and lets go of its eventfds. */
  reset(): void {
    this.#waiting.clear();
    this.size = 1;
    this.#base = 0;
    this.addresses = undefined;
    this.ordered = false;
    undo(() => this.trackIn(undefined, 0));
    for (const file of ['kick', 'call', 'err'] as const) undo(() => this.setFile(file, -1));
  }

  #open(
    kernel: Kernel,
    queue: RunningQueue,
    fd: number,
    program: ProgramBackend | undefined,
  ): TransmitHandler | ReceiveHandler {
    if (this.index === VHOST_NET_VQ_RX)
      return new ReceiveHandler(queue, new Budget(), this.#waiting, (terms) =>
        program === undefined
          ? new DescriptorReceivePort(kernel, fd, terms)
          : new ProgramReceivePort(program, terms),
      );
    return new TransmitHandler(queue, new Budget(), (terms) =>
      program === undefined
        ? new DescriptorTransmitPort(kernel, fd, terms)
        : new ProgramTransmitPort(program, terms),
    );
  }

  #serve(ring: DeviceRing, header: HeaderBytes): RunningQueue {
    return {
      ring,
      header,
      stats: this.stats,
      publish: () => {
        ring.publish();
        if (ring.wantsCall()) this.#signal('call');
      },
      fail: (fault, error) => {
        this.#signal('err');
        this.#device.faulted(this.index, fault, error);
      },
    };
  }

  /** Like handle_tx() and vhost_net_set_features(): who has the header of a frame. */
  #header(program: ProgramBackend | undefined): HeaderBytes {
    const { features } = this.#device;
    const mergeable = (features & bit(VIRTIO_NET_F_MRG_RXBUF)) !== 0n;
    const counts = mergeable || (features & bit(VIRTIO_F_VERSION_1)) !== 0n;
    const bytes = counts ? VIRTIO_NET_HDR_V1_SIZE : VIRTIO_NET_HDR_SIZE;
    const supplied = program !== undefined || (features & bit(VHOST_NET_F_VIRTIO_NET_HDR)) !== 0n;
    return { device: supplied ? bytes : 0, counts, mergeable };
  }

  #log(): WriteLog | undefined {
    const { features, marks, kernel, logFd } = this.#device;
    if (marks === undefined || (features & bit(VHOST_F_LOG_ALL)) === 0n) return undefined;
    return (address, length) => {
      marks.mark(address, length);
      if (logFd !== -1) kernel.eventfd.signal(logFd);
    };
  }

  #parts(): RingParts {
    const { descriptorTable, availableRing, usedRing } = this.addresses!;
    return {
      descriptorTable: this.#place(descriptorTable),
      availableRing: this.#place(availableRing),
      usedRing: this.#place(usedRing),
    };
  }

  /** Where a user address is, of a part that was checked to be inside the memory. */
  #place(address: bigint): RingPart {
    const region = this.#device.memory!.regions.find(
      ({ userAddress, size }) => address >= userAddress && address < userAddress + BigInt(size),
    )!;
    return { buffer: region.buffer, offset: Number(address - region.userAddress) };
  }

  #signal(file: QueueFile): void {
    const fd = this.#files[file];
    if (fd !== -1) this.#device.kernel.eventfd.signal(fd);
  }
}
