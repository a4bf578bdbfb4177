import { readFileSync, readSync, writeSync } from 'node:fs';
import { type Backend, hostKernel } from '../../lib/index.js';
import { ControlDevice, SIZE } from './control-device.js';
import type { Namespace } from './device-namespace.js';
import { openVhost } from './test-device.js';
import { until } from './until.js';

export const RX = 0;
export const TX = 1;
export const PAGE = 4096;
/** Bytes of virtio-net header. */
export const HEADER = 12;
/** Where in the region buffers may be; before are the rings. */
export const BUFFERS = 8 * PAGE;

export const VERSION_1 = 1n << 32n;
export const MRG_RXBUF = 1n << 15n;
export const NOTIFY_ON_EMPTY = 1n << 24n;
export const INDIRECT_DESC = 1n << 28n;
export const EVENT_IDX = 1n << 29n;

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

/** One descriptor. `at` is an offset within the region, `address` any guest address. */
export interface Descriptor {
  readonly at?: number;
  readonly address?: number;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

/** What a queue has come to. */
export interface Outcome {
  /** Head and length of each used entry, in order. */
  readonly used: readonly (readonly [head: number, length: number])[];
  /** Whether errors were told on its eventfd; how often is not agreed. */
  readonly failed: boolean;
  /** The available index that the device takes next. */
  readonly base: number;
}

/** A device on a tap, its rings written by hand, and the far end of the cable that it hangs on. */
export class ContractDevice extends ControlDevice<ReturnType<typeof openVhost>> {
  readonly calls = [this.eventfd(), this.eventfd()];
  readonly errors = [this.eventfd(), this.eventfd()];
  readonly kicks = [this.eventfd(), this.eventfd()];
  readonly near: Backend;
  readonly #far: Backend;

  constructor(namespace: Namespace) {
    super(openVhost());
    this.near = this.tap(namespace, 'near');
    this.#far = this.tap(namespace, 'far');
    for (const { fd } of [this.near, this.#far]) hostKernel().tun.setVnetHdrSz(fd, HEADER);
    namespace.bridge('cable', 'near', 'far');
  }

  /** Starts both queues, with these features, at these indices. */
  async start(features = VERSION_1, base = 0): Promise<void> {
    this.setUp(features);
    for (const queue of [RX, TX]) {
      await this.vhost.setVringBase(queue, base);
      this.#ring(queue).setUint16(this.availableRing + 2, base, true);
      this.#ring(queue).setUint16(this.usedRing + 2, base, true);
      await this.vhost.setVringKick(queue, this.kicks[queue]!);
      await this.vhost.setVringCall(queue, this.calls[queue]!);
      await this.vhost.setVringErr(queue, this.errors[queue]!);
      await this.vhost.setBackend(queue, this.near.fd);
    }
  }

  /** Writes descriptors of a queue, or, with `table`, of an indirect table at this offset in the region. */
  describe(queue: number, descriptors: Readonly<Record<number, Descriptor>>, table = queue * PAGE): void {
    for (const [index, { at, address, length, flags = 0, next = 0 }] of Object.entries(descriptors)) {
      const view = new DataView(this.region.buffer, table + 16 * Number(index), 16);
      view.setBigUint64(0, BigInt(address ?? this.region.guestPhysicalAddress + at!), true);
      view.setUint32(8, length, true);
      view.setUint16(12, flags, true);
      view.setUint16(14, next, true);
    }
  }

  /** Makes heads available, and kicks; `ahead` moves the index by more than that. */
  offer(queue: number, heads: readonly number[], ahead = 0): void {
    const ring = this.#ring(queue);
    let index = ring.getUint16(this.availableRing + 2, true);
    for (const head of heads) ring.setUint16(this.availableRing + 4 + 2 * (index++ % SIZE), head, true);
    ring.setUint16(this.availableRing + 2, (index + ahead) & 0xffff, true);
    this.signal(this.kicks[queue]!);
  }

  /** Puts another head where the available ring has the one of this index. */
  replaceHead(queue: number, index: number, head: number): void {
    this.#ring(queue).setUint16(this.availableRing + 4 + 2 * (index % SIZE), head, true);
  }

  /** The driver's flags: 1 wants no call. */
  setFlags(queue: number, flags: number): void {
    this.#ring(queue).setUint16(this.availableRing, flags, true);
  }

  /** Asks for a call when the used index passes this (VIRTIO_F_EVENT_IDX). */
  wantCallAt(queue: number, index: number): void {
    this.#ring(queue).setUint16(this.availableRing + 4 + 2 * SIZE, index, true);
  }

  /** The available index at which the device asks for a kick (VIRTIO_F_EVENT_IDX). */
  kickWantedAt(queue: number): number {
    return this.#ring(queue).getUint16(this.usedRing + 4 + 8 * SIZE, true);
  }

  usedIndex(queue: number): number {
    return this.#ring(queue).getUint16(this.usedRing + 2, true);
  }

  /** Waits until so many entries are used, counted from `from`, and an error is told where one is expected. */
  async outcome(queue: number, used: number, failed = false, from = 0): Promise<Outcome> {
    await until(
      `${used} are used${failed ? ' and an error is told' : ''} on queue ${queue}`,
      () =>
        ((this.usedIndex(queue) - from) & 0xffff) >= used &&
        (!failed || this.counted(this.errors[queue]!) > 0),
    );
    const ring = this.#ring(queue);
    const count = (this.usedIndex(queue) - from) & 0xffff;
    const entries = Array.from({ length: count }, (_, i) => {
      const at = this.usedRing + 4 + 8 * ((from + i) % SIZE);
      return [ring.getUint32(at, true), ring.getUint32(at + 4, true)] as const;
    });
    return {
      used: entries,
      failed: this.counted(this.errors[queue]!) > 0,
      base: await this.vhost.getVringBase(queue),
    };
  }

  /** What an eventfd has counted, which stays. */
  counted(fd: number): number {
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    return Number.parseInt(/^eventfd-count:\s*([0-9a-f]+)/m.exec(info)![1]!, 16);
  }

  /** Writes a frame with an empty header into a buffer at this offset of the region; its length with the header. */
  fill(frame: Uint8Array, at = BUFFERS): number {
    this.region.bytes.fill(0, at, at + HEADER);
    this.region.bytes.set(frame, at + HEADER);
    return HEADER + frame.length;
  }

  /** Puts a frame on the cable, for the device to receive. */
  arrive(frame: Uint8Array): void {
    writeSync(this.#far.fd, Buffer.concat([Buffer.alloc(HEADER), frame]));
  }

  /** Waits for the next frame that comes out of the cable. */
  async sent(): Promise<Buffer> {
    const buffer = Buffer.alloc(65_550);
    let bytes = 0;
    await until('a frame comes out of the cable', () => {
      try {
        bytes = readSync(this.#far.fd, buffer);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      return bytes > 0;
    });
    return buffer.subarray(HEADER, bytes);
  }

  #ring(queue: number): DataView {
    return new DataView(this.region.buffer, queue * PAGE, PAGE);
  }
}
