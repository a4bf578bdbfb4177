import { type FrameProgram, type ProgramBackend, programBackend } from '../../lib/backend/program.js';
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import type { Region } from '../../lib/memory/region.js';
import { WorkerVhost } from '../../lib/vhost/worker/worker-vhost.js';
import { DriverRing } from '../../lib/vring/driver-ring.js';
import { FakeKernel } from './fake-kernel.js';

const RX = 0;
const TX = 1;
const PAGE = 4096;
const RINGS = 16 * PAGE;
/** Bytes of virtio-net header. */
export const HEADER = 12;
export const VERSION_1 = 1n << 32n;
export const MRG_RXBUF = 1n << 15n;
export const LOG_ALL = 1n << 26n;

/** A frame that a program has and completes when the test says so. */
export interface HeldFrame {
  readonly frame: Uint8Array;
  readonly finish: () => void;
  readonly fail: (error: Error) => void;
}

/** A program that keeps every frame. */
export class Keeper implements FrameProgram {
  readonly held: HeldFrame[] = [];
  readonly failures: unknown[] = [];
  signal: AbortSignal | undefined;
  writables = 0;

  transmit(frame: Uint8Array, signal: AbortSignal): Promise<void> {
    this.signal = signal;
    return new Promise((finish, fail) => void this.held.push({ frame, finish, fail }));
  }

  writable(): void {
    this.writables++;
  }

  failed(error: unknown): void {
    this.failures.push(error);
  }
}

/** A `WorkerVhost` on a kernel in memory, with a ring for each queue and the page of a buffer for each of its heads. */
export class WorkerOnFake {
  readonly kernel: FakeKernel;
  readonly vhost: WorkerVhost;
  readonly memory: GuestMemory;
  readonly size: number;
  readonly region: Region;
  readonly rings: DriverRing[] = [];
  readonly kicks: readonly number[];
  readonly calls: readonly number[];
  readonly faults: string[] = [];
  readonly #backends: ProgramBackend[] = [];
  readonly #beside: WorkerOnFake | undefined;

  /** `beside` is one whose kernel this shares, and which is closed after it. */
  constructor(features = VERSION_1, size = 8, beside?: WorkerOnFake) {
    const kernel = beside?.kernel ?? new FakeKernel();
    this.#beside = beside;
    this.kernel = kernel;
    this.vhost = new WorkerVhost({ kernel });
    this.memory = new GuestMemory(kernel);
    this.kicks = [kernel.eventfd.create(), kernel.eventfd.create()];
    this.calls = [kernel.eventfd.create(), kernel.eventfd.create()];
    this.size = size;
    this.region = this.memory.addRegion({ size: 2 * RINGS + 2 * size * PAGE });
    this.vhost.on('fault', ({ queue, reason, error }) => {
      const code = (error as NodeJS.ErrnoException | undefined)?.code;
      this.faults.push(`${queue} ${reason}${code === undefined ? '' : ` ${code}`}`);
    });
    this.vhost.setOwner();
    this.vhost.setFeatures(features);
    this.vhost.setMemTable(this.memory);
    for (const queue of [RX, TX]) {
      this.rings[queue] = new DriverRing({ region: this.region, offset: queue * RINGS, size, queue });
      this.vhost.setVringNum(queue, size);
      this.vhost.setVringBase(queue, 0);
      this.vhost.setVringAddr(queue, { ...this.rings[queue]!.addresses, flags: 0 });
      this.vhost.setVringKick(queue, this.kicks[queue]!);
      this.vhost.setVringCall(queue, this.calls[queue]!);
    }
  }

  program(program: FrameProgram): ProgramBackend {
    const backend = programBackend(program);
    this.#backends.push(backend);
    return backend;
  }

  /** Where the buffer of a queue's n-th post lies in the region. */
  at(queue: number, n: number): number {
    return 2 * RINGS + (queue * this.size + n) * PAGE;
  }

  /** Sends frames of one byte each behind their header, in one kick. */
  send(...bytes: readonly number[]): void {
    for (const byte of bytes) {
      const at = this.at(TX, byte % this.size);
      this.region.bytes.fill(0, at, at + HEADER);
      this.region.bytes[at + HEADER] = byte;
      this.rings[TX]!.post(0, this.region.guestPhysicalAddress + at, HEADER + 1, false);
    }
    this.kick(TX);
  }

  /** Posts receive buffers of these lengths. */
  offer(...lengths: readonly number[]): void {
    for (const [n, length] of lengths.entries())
      this.rings[RX]!.post(0, this.region.guestPhysicalAddress + this.at(RX, n), length, true);
    this.kick(RX);
  }

  kick(queue: number): void {
    this.rings[queue]!.publish();
    this.kernel.eventfd.signal(this.kicks[queue]!);
  }

  /** Posts a frame of so many bytes, header and all, wherever it lies. */
  sendLong(bytes: number): void {
    this.rings[TX]!.post(0, this.region.guestPhysicalAddress, bytes, false);
  }

  /** Heads that the device has given back, in order. */
  reap(queue: number): number[] {
    const ring = this.rings[queue]!;
    return [...ring.heads.subarray(0, ring.reap())];
  }

  /** Resolves when nothing happens by itself any more. */
  async idle(): Promise<void> {
    for (let i = 0; i < 3; i++) await this.kernel.idle();
  }

  async close(): Promise<void> {
    await this.vhost.close();
    for (const backend of this.#backends) backend.close();
    for (const fd of [...this.kicks, ...this.calls]) this.kernel.descriptor.close(fd);
    this.memory.close();
    if (this.#beside === undefined) this.kernel.assertNothingLeft();
  }
}
