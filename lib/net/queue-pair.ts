import { bit } from '../abi/bit.js';
import { VHOST_NET_F_VIRTIO_NET_HDR } from '../abi/vhost.js';
import { VHOST_NET_VQ_RX, VHOST_NET_VQ_TX } from '../abi/vhost-net.js';
import { VIRTIO_F_VERSION_1 } from '../abi/virtio-config.js';
import { VIRTIO_NET_F_MRG_RXBUF } from '../abi/virtio-net.js';
import { VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, VRING_DESC_SIZE } from '../abi/virtio-ring.js';
import { Ledger } from '../completion/ledger.js';
import { VhostError } from '../errors/errors.js';
import type { Kernel, Poller } from '../kernel/kernel.js';
import type { FramePool } from '../memory/frame-pool.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Awaitable, Vhost } from '../vhost/vhost.js';
import { DriverRing } from '../vring/driver-ring.js';
import { splitRingLayout } from '../vring/layout.js';
import { HEADER_SIZE } from './header.js';
import { ReceiveQueue } from './receive-queue.js';
import type { Teardown } from './teardown.js';
import { MAX_SEGMENTED_FRAME, TransmitQueue } from './transmit-queue.js';

/** What a queue pair tells of: a call of the device on a queue, an error of it. */
export interface QueuePairEvents {
  called(queue: number, count: number): void;
  failed(queue: number, count: number): void;
}

export interface QueuePairOptions {
  readonly kernel: Kernel;
  /** Opens the device; the pair closes it. */
  readonly openVhost: () => Awaitable<Vhost>;
  readonly memory: GuestMemory;
  readonly pool: FramePool;
  /** Bytes of header that the backend's descriptor carries; 0 lets vhost supply it. */
  readonly backendHeaderSize: number;
  readonly mtu: number;
  readonly receiveSize: number;
  readonly transmitSize: number;
  readonly reserve: number;
  readonly maxFrames: number;
  readonly maxBytes: number;
  /** Microseconds the device polls before it sleeps. */
  readonly busyPoll: number;
  readonly events: QueuePairEvents;
  /** Gathers what closes the pair. */
  readonly teardown: Teardown;
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
  /** The feature bits agreed. */
  readonly features: bigint;
  readonly #vhost: Vhost;
  readonly #pollers: Poller[] = [];
  readonly #attached = [false, false];

  private constructor(vhost: Vhost, features: bigint, receive: ReceiveQueue, transmit: TransmitQueue) {
    this.#vhost = vhost;
    this.features = features;
    this.receive = receive;
    this.transmit = transmit;
  }

  /** Sets the device up, detached; `teardown` gains the steps that undo it. */
  static async open(options: QueuePairOptions): Promise<QueuePair> {
    const { kernel, memory, pool, teardown } = options;
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
    let pair: QueuePair | undefined;
    // Whatever a detach could not settle, the closed device has let go of.
    teardown.add(() => {
      pair?.receive.settle();
      pair?.transmit.settle();
    });
    const vhost = await options.openVhost();
    teardown.add(() => vhost.close());
    await vhost.setOwner();
    const features = agreeFeatures(await vhost.getFeatures(), options.backendHeaderSize);
    await vhost.setFeatures(features);
    await vhost.setMemTable(memory);

    const eventIdx = (features & bit(VIRTIO_RING_F_EVENT_IDX)) !== 0n;
    const ring = (queue: number, size: number, entries: number): DriverRing => {
      const { bytes } = splitRingLayout(size);
      const { region, offset } = memory.allocate(bytes + size * entries * VRING_DESC_SIZE);
      const indirect = entries === 0 ? undefined : { offset: offset + bytes, entries };
      return new DriverRing({ region, offset, size, queue, eventIdx, ...(indirect && { indirect }) });
    };
    const indirect = (features & bit(VIRTIO_RING_F_INDIRECT_DESC)) !== 0n;
    const rings = [
      ring(VHOST_NET_VQ_RX, options.receiveSize, 0),
      ring(VHOST_NET_VQ_TX, options.transmitSize, indirect ? tableEntries(pool.bufferSize) : 0),
    ] as const;
    for (const [queue, { layout, region, offset }] of rings.entries()) {
      const start = region.userAddress + BigInt(offset);
      await vhost.setVringNum(queue, layout.size);
      await vhost.setVringAddr(queue, {
        flags: 0,
        descriptorTable: start + BigInt(layout.descriptorTable),
        availableRing: start + BigInt(layout.availableRing),
        usedRing: start + BigInt(layout.usedRing),
        log: 0n,
      });
      await vhost.setVringKick(queue, kicks[queue]!);
      await vhost.setVringCall(queue, calls[queue]!);
      await vhost.setVringErr(queue, errors[queue]!);
      if (options.busyPoll > 0) await vhost.setVringBusyloopTimeout(queue, options.busyPoll);
    }
    const made = new QueuePair(
      vhost,
      features,
      new ReceiveQueue({
        ring: rings[VHOST_NET_VQ_RX],
        ledger: new Ledger(options.receiveSize),
        pool,
        kick: () => kernel.eventfd.signal(kicks[VHOST_NET_VQ_RX]!),
        mergeable: (features & bit(VIRTIO_NET_F_MRG_RXBUF)) !== 0n,
        reserve: options.reserve,
      }),
      new TransmitQueue({
        ring: rings[VHOST_NET_VQ_TX],
        ledger: new Ledger(options.transmitSize),
        pool,
        kick: () => kernel.eventfd.signal(kicks[VHOST_NET_VQ_TX]!),
        mtu: options.mtu,
        maxFrames: options.maxFrames,
        maxBytes: options.maxBytes,
      }),
    );
    pair = made;
    teardown.add(() => made.detach(VHOST_NET_VQ_RX));
    teardown.add(() => made.detach(VHOST_NET_VQ_TX));
    const { events } = options;
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

  /** Starts a queue on a backend's descriptor, or moves it there while it runs. */
  async attach(queue: number, backendFd: number): Promise<void> {
    if (!this.#attached[queue]) await this.#vhost.setVringBase(queue, this.#queue(queue).ring.base);
    await this.#vhost.setBackend(queue, backendFd);
    this.#attached[queue] = true;
  }

  /** Stops a queue, waits for the device to let go of its buffers, and settles all that was in flight. */
  async detach(queue: number): Promise<void> {
    if (!this.#attached[queue]) return;
    this.#attached[queue] = false;
    await this.#vhost.detachBackend(queue);
    this.#queue(queue).settle();
  }

  /** Whether a queue has a backend. */
  isAttached(queue: number): boolean {
    return this.#attached[queue]!;
  }

  #queue(queue: number): ReceiveQueue | TransmitQueue {
    return queue === VHOST_NET_VQ_RX ? this.receive : this.transmit;
  }

  ref(): void {
    for (const poller of this.#pollers) poller.ref();
  }

  unref(): void {
    for (const poller of this.#pollers) poller.unref();
  }
}

function agreeFeatures(offered: bigint, backendHeaderSize: number): bigint {
  const required = bit(VIRTIO_F_VERSION_1) | (backendHeaderSize === 0 ? bit(VHOST_NET_F_VIRTIO_NET_HDR) : 0n);
  if ((offered & required) !== required)
    throw new VhostError(
      'ERR_VHOST_UNSUPPORTED',
      `the device must offer features 0x${required.toString(16)}; it offers 0x${offered.toString(16)}`,
    );
  const wanted =
    bit(VIRTIO_RING_F_EVENT_IDX) | bit(VIRTIO_RING_F_INDIRECT_DESC) | bit(VIRTIO_NET_F_MRG_RXBUF);
  return required | (offered & wanted);
}
