import type { VhostErrorLike } from '../../lib/errors/errors.js';
import {
  type Backend,
  GuestMemory,
  hostKernel,
  openTap,
  type Region,
  type TapOptions,
  type Vhost,
} from '../../lib/index.js';
import type { VringAddresses } from '../../lib/kernel/kernel.js';
import type { Namespace } from './device-namespace.js';
import { within } from './until.js';

/** Descriptors of a ring. */
export const SIZE = 64;
const PAGE = 4096;
const AVAILABLE = 16 * SIZE;
const USED = 2048;

/** A vhost-net device with memory and rings in it, to make requests one by one; `close` takes all of it. */
export class ControlDevice<V extends Vhost> {
  readonly vhost: V;
  readonly memory = new GuestMemory(hostKernel());
  readonly region: Region;
  /** Where the parts of a ring are in the page of their queue. */
  readonly availableRing = AVAILABLE;
  readonly usedRing = USED;
  readonly #kernel = hostKernel();
  readonly #descriptors: number[] = [];
  readonly #backends: Backend[] = [];

  constructor(vhost: V) {
    this.vhost = vhost;
    this.region = this.memory.addRegion({ size: 64 * PAGE });
  }

  /** The user address of a page of the memory. */
  page(n: number): bigint {
    return this.region.userAddress + BigInt(n * PAGE);
  }

  /** The ring of a queue: one page for each. */
  ring(queue: number): VringAddresses {
    const descriptorTable = this.page(queue);
    return {
      flags: 0,
      descriptorTable,
      availableRing: descriptorTable + BigInt(AVAILABLE),
      usedRing: descriptorTable + BigInt(USED),
      log: 0n,
    };
  }

  /** All that comes before a backend. */
  setUp(features = 1n << 32n): void {
    this.vhost.setOwner();
    this.vhost.setFeatures(features);
    this.vhost.setMemTable(this.memory);
    this.place();
  }

  place(): void {
    for (const queue of [0, 1]) {
      this.vhost.setVringNum(queue, SIZE);
      this.vhost.setVringBase(queue, 0);
      this.vhost.setVringAddr(queue, this.ring(queue));
    }
  }

  tap(namespace: Namespace, name: string, options: Pick<TapOptions, 'multiQueue'> = {}): Backend {
    const backend = openTap({ ...options, name, netns: namespace.name });
    this.#backends.push(backend);
    return backend;
  }

  eventfd(): number {
    return this.own(this.#kernel.eventfd.create());
  }

  /** Has a descriptor closed with the device. */
  own(fd: number): number {
    this.#descriptors.push(fd);
    return fd;
  }

  /** Makes a head available on the transmit queue; its descriptor is a frame of 60 bytes, on page 32 unless told. */
  publish(head: number, address = this.region.guestPhysicalAddress + 32 * PAGE): void {
    const page = new DataView(this.region.buffer, PAGE, PAGE);
    page.setBigUint64(0, BigInt(address), true);
    page.setUint32(8, 12 + 60, true);
    const index = page.getUint16(AVAILABLE + 2, true);
    page.setUint16(AVAILABLE + 4 + 2 * (index % SIZE), head, true);
    page.setUint16(AVAILABLE + 2, (index + 1) & 0xffff, true);
  }

  /** The used index of the transmit queue. */
  get used(): number {
    return new DataView(this.region.buffer, PAGE + USED, 4).getUint16(2, true);
  }

  /** Resolves with the count once an eventfd was signalled. */
  async signalled(fd: number): Promise<number> {
    let stop = (): void => {};
    const count = new Promise<number>((resolve) => {
      const poller = this.#kernel.poller.watchEventfd(fd, resolve);
      stop = () => poller.close();
    });
    try {
      return await within('the eventfd is signalled', count);
    } finally {
      stop();
    }
  }

  signal(fd: number): void {
    this.#kernel.eventfd.signal(fd);
  }

  async close(): Promise<void> {
    await this.vhost.close();
    for (const backend of this.#backends) backend.close();
    for (const fd of this.#descriptors) this.#kernel.descriptor.close(fd);
    this.memory.close();
  }
}

/** What a call was refused with: `code` and `request`, and the kernel's `code` where this package's stands for it. */
export function refusalOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    const { code, request, cause } = error as VhostErrorLike & { cause?: { code: string } };
    return [code, request, cause?.code].filter((word) => word !== undefined).join(' ');
  }
  return 'accepted';
}
