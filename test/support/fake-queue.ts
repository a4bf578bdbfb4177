import { VHOST_VRING_LITTLE_ENDIAN } from '../../lib/abi/vhost.js';
import { VIRTIO_RING_F_EVENT_IDX } from '../../lib/abi/virtio-ring.js';
import type { VringAddresses } from '../../lib/kernel/kernel.js';
import type { EventFile } from './fake-eventfd.js';
import type { OpenFile } from './fake-file.js';
import { READ } from './fake-iotlb.js';
import type { Place } from './fake-memory.js';
import type { VhostFile } from './fake-vhost-file.js';

/** Where a ring is, in terms that a model of a device takes. */
export interface RingLayout {
  readonly buffer: ArrayBuffer;
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
  readonly size: number;
  readonly eventIdx: boolean;
  /** The available index to begin with. */
  readonly base: number;
  /** Offset in `buffer` of a guest physical address. */
  readonly translate: (address: bigint) => number;
}

const unset: VringAddresses = { flags: 0, descriptorTable: 0n, availableRing: 0n, usedRing: 0n, log: 0n };

/** One queue of a fake vhost device, like `struct vhost_virtqueue`; what a test's device works with. */
export class FakeQueue {
  readonly device: VhostFile;
  /** 0 receive, 1 transmit. */
  readonly index: number;
  size = 1;
  addresses: VringAddresses = unset;
  /** Available index at which the device goes on: a device model moves it, VHOST_GET_VRING_BASE reads it. */
  base = 0;
  /** Used index that was found in the ring when the backend was set. */
  usedIndex = 0;
  busyloopTimeout = 0;
  /** Byte order of a legacy ring, where VHOST_SET_VRING_ENDIAN is known. */
  endian = VHOST_VRING_LITTLE_ENDIAN;
  backend: OpenFile | undefined;
  private readonly kicked: () => void;
  private kickFile: EventFile | undefined;
  private callFile: EventFile | undefined;
  private errorFile: EventFile | undefined;

  constructor(device: VhostFile, index: number, kicked: (queue: FakeQueue) => void) {
    this.device = device;
    this.index = index;
    this.kicked = () => kicked(this);
  }

  get features(): bigint {
    return this.device.features;
  }

  get kick(): EventFile | undefined {
    return this.kickFile;
  }

  set kick(file: EventFile | undefined) {
    this.kickFile?.wakes.delete(this.kicked);
    this.kickFile = exchange(this.kickFile, file);
    file?.wakes.add(this.kicked);
    // An eventfd that was signalled before it was handed over counts, as in vhost_poll_start().
    if (file?.readable) this.kicked();
  }

  set callEvent(file: EventFile | undefined) {
    this.callFile = exchange(this.callFile, file);
  }

  set errorEvent(file: EventFile | undefined) {
    this.errorFile = exchange(this.errorFile, file);
  }

  /** Device to driver: buffers were used. False where the driver gave no eventfd for it. */
  call(): boolean {
    this.callFile?.signal();
    return this.callFile !== undefined;
  }

  /** Device to driver: something is wrong with the queue. False where the driver gave no eventfd for it. */
  error(): boolean {
    this.errorFile?.signal();
    return this.errorFile !== undefined;
  }

  /** Bytes of the ring, whose addresses are user addresses, or the IOTLB's. */
  memory(address: bigint, length: number): Place | undefined {
    const { iotlb } = this.device;
    if (iotlb === undefined) return this.device.memory(address, length);
    const user = iotlb.translate(this, address, length, READ);
    return user === undefined ? undefined : this.device.memory(user, length);
  }

  /** Bytes at a guest physical address, through the memory table, or through the IOTLB. */
  guest(address: bigint, length: number, permission = READ): Place | undefined {
    const { iotlb } = this.device;
    if (iotlb === undefined) return this.device.guest(address, length);
    const user = iotlb.translate(this, address, length, permission);
    return user === undefined ? undefined : this.device.memory(user, length);
  }

  /** The ring in its buffer, for a model of the device; all of the ring is in one mapping. */
  layout(): RingLayout {
    const { size, addresses, features, base } = this;
    const find = (address: bigint): Place => {
      const place = this.memory(address, 1);
      if (!place) throw new Error(`queue ${this.index}: no memory at 0x${address.toString(16)}`);
      return place;
    };
    const table = find(addresses.descriptorTable);
    return {
      buffer: table.buffer,
      descriptorTable: table.offset,
      availableRing: find(addresses.availableRing).offset,
      usedRing: find(addresses.usedRing).offset,
      size,
      eventIdx: (features & (1n << BigInt(VIRTIO_RING_F_EVENT_IDX))) !== 0n,
      base,
      translate: (address) => {
        const place = this.guest(address, 1);
        if (place?.buffer !== table.buffer)
          throw new Error(`queue ${this.index}: 0x${address.toString(16)} is not in the ring's region`);
        return place.offset;
      },
    };
  }

  /** Sets or removes the backend, which the queue holds as the kernel holds the socket. */
  setBackend(file: OpenFile | undefined): void {
    this.backend = exchange(this.backend, file);
  }

  /** As after open(2). */
  reset(): void {
    this.setBackend(undefined);
    this.kick = undefined;
    this.callEvent = undefined;
    this.errorEvent = undefined;
    this.size = 1;
    this.addresses = unset;
    this.base = 0;
    this.usedIndex = 0;
    this.busyloopTimeout = 0;
    this.endian = VHOST_VRING_LITTLE_ENDIAN;
  }
}

function exchange<T extends OpenFile>(old: T | undefined, file: T | undefined): T | undefined {
  file?.hold();
  old?.drop();
  return file;
}
