import { type Backend, DriverRing, GuestMemory, hostKernel, KernelVhost, openTap } from '../../lib/index.js';
import type { Region } from '../../lib/memory/region.js';
import type { Namespace } from './device-namespace.js';
import { until } from './until.js';

const RX = 0;
const TX = 1;
/** Where rings and frames lie in the region: a page for each ring, then the buffers. */
const RING = 4096;
const SENT = 8 * RING;
const RECEIVED = 16 * RING;
const BUFFER = 2048;

/**
 * One end of a cable without a `Nic`: a device that was given these features, a ring for each queue, a tap with a header
 * of this size. Frames go one at a time, their headers included.
 */
export class RawEnd {
  readonly vhost = KernelVhost.open();
  readonly backend: Backend;
  readonly memory = new GuestMemory(hostKernel());
  readonly region: Region;
  /** By queue. */
  readonly calls: readonly number[];
  readonly rings: DriverRing[] = [];
  readonly #kicks: readonly number[];
  readonly #features: bigint;

  constructor(namespace: Namespace, name: string, features: bigint, headerSize: number) {
    const { eventfd, tun } = hostKernel();
    this.#features = features;
    this.region = this.memory.addRegion({ size: 32 * RING });
    this.backend = openTap({ name, netns: namespace.name });
    tun.setVnetHdrSz(this.backend.fd, headerSize);
    this.#kicks = [eventfd.create(), eventfd.create()];
    this.calls = [eventfd.create(), eventfd.create()];
    this.vhost.setOwner();
    this.vhost.setFeatures(features);
    this.vhost.setMemTable(this.memory);
    for (const queue of [RX, TX]) this.start(queue, queue * RING, 16);
  }

  /** Starts a queue from scratch, on a ring of this size at this place. */
  start(queue: number, offset: number, size: number): void {
    const eventIdx = (this.#features & (1n << 29n)) !== 0n;
    const ring = new DriverRing({ region: this.region, offset, size, queue, eventIdx });
    this.rings[queue] = ring;
    this.vhost.setVringNum(queue, size);
    this.vhost.setVringBase(queue, 0);
    this.vhost.setVringAddr(queue, { ...ring.addresses, flags: 0 });
    this.vhost.setVringKick(queue, this.#kicks[queue]!);
    this.vhost.setVringCall(queue, this.calls[queue]!);
    this.vhost.setBackend(queue, this.backend.fd);
  }

  stop(queue: number): void {
    this.vhost.setBackend(queue, -1);
  }

  /** Sends a frame with its header in so many pieces, and waits until the device is done with it. */
  async send(...pieces: readonly Uint8Array[]): Promise<void> {
    const ring = this.rings[TX]!;
    ring.begin(pieces.length);
    let at = SENT;
    for (const piece of pieces) {
      this.region.bytes.set(piece, at);
      ring.add(0, this.region.guestPhysicalAddress + at, piece.length, false);
      at += piece.length;
    }
    ring.end();
    this.#publish(TX);
    await until('the frame is used', () => ring.reap() === 1);
  }

  /** Gives the device one buffer to receive into. */
  postBuffer(): void {
    const address = this.region.guestPhysicalAddress + RECEIVED;
    this.rings[RX]!.post(0, address, BUFFER, true);
    this.#publish(RX);
  }

  /** What came into the buffer, with its header. */
  async received(): Promise<Uint8Array> {
    const ring = this.rings[RX]!;
    await until('a frame comes', () => ring.reap() === 1);
    return this.region.bytes.slice(RECEIVED, RECEIVED + ring.lengths[0]!);
  }

  close(): void {
    this.vhost.close();
    this.backend.close();
    for (const fd of [...this.#kicks, ...this.calls]) hostKernel().descriptor.close(fd);
    this.memory.close();
  }

  #publish(queue: number): void {
    if (this.rings[queue]!.publish()) hostKernel().eventfd.signal(this.#kicks[queue]!);
  }
}
