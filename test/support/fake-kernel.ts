import assert from 'node:assert/strict';
import { AF_PACKET, SOCK_RAW } from '../../lib/abi/socket.js';
import type { Kernel } from '../../lib/kernel/kernel.js';
import { FakeDescriptors, type OpenDescriptor } from './fake-descriptors.js';
import type { FakeDevice } from './fake-device.js';
import { FakeEventfds } from './fake-eventfd.js';
import { CharacterDevice, type OpenFile } from './fake-file.js';
import { FakeFiles } from './fake-files.js';
import { FakeFrames } from './fake-frames.js';
import { FakeInterfaces } from './fake-interfaces.js';
import { FakeMemory, type OpenMapping } from './fake-memory.js';
import { FakeNetdev } from './fake-netdev.js';
import { FakePackets, SocketFile } from './fake-packet.js';
import { FakePassing } from './fake-passing.js';
import { FakePollers, type OpenPoller } from './fake-pollers.js';
import type { Privileges } from './fake-privileges.js';
import type { FakeQueue } from './fake-queue.js';
import type { Refusal } from './fake-refusal.js';
import { Schedule } from './fake-schedule.js';
import { type Call, type FailureRange, Trace } from './fake-trace.js';
import { FakeTun } from './fake-tun.js';
import { FakeVhost } from './fake-vhost.js';
import { FakeWorkers } from './fake-workers.js';

export type { OpenDescriptor } from './fake-descriptors.js';
export type { FakeDevice } from './fake-device.js';
export type { FakeInterface } from './fake-interfaces.js';
export type { OpenMapping, Place } from './fake-memory.js';
export type { OpenPoller } from './fake-pollers.js';
export type { FakeQueue, RingLayout } from './fake-queue.js';
export type { Refusal } from './fake-refusal.js';
export type { Call, FailureRange } from './fake-trace.js';

/** What Linux 6.12 offered on a machine with vhost-net. */
export const offeredFeatures = 0x1033d008000n;

export interface FakeKernelOptions {
  /** Features that /dev/vhost-net offers, of the first 64 bits. */
  readonly features?: bigint;
  /** The words beyond: makes it a kernel with VHOST_GET_FEATURES_ARRAY. */
  readonly extendedFeatures?: readonly bigint[];
  /** Makes it a kernel with VHOST_SET_FORK_FROM_OWNER. */
  readonly forkControl?: boolean;
  /** False makes it a kernel before 6.4, whose workers are kernel threads. */
  readonly taskWorkers?: boolean;
  /** Makes it a kernel with VHOST_SET_VRING_ENDIAN. */
  readonly crossEndian?: boolean;
}

/**
 * A kernel in memory, for tests. It records every call, refuses what Linux refuses, refuses more where a test
 * says so, and lists what nobody should have done.
 */
export class FakeKernel implements Kernel {
  private readonly trace = new Trace();
  private readonly schedule = new Schedule();
  /** What the program may do; all of it unless a test takes something away. */
  readonly privileges: Privileges = { netAdmin: true, netRaw: true };
  readonly interfaces = new FakeInterfaces();

  readonly descriptor = new FakeDescriptors(this.trace);
  readonly eventfd = new FakeEventfds(this.trace, this.descriptor);
  readonly memory = new FakeMemory(this.trace, this.descriptor);
  readonly poller = new FakePollers(this.trace, this.descriptor, this.schedule);
  readonly passing = new FakePassing(this.trace, this.descriptor);
  readonly frames = new FakeFrames(this.trace, this.descriptor, this.memory);
  readonly files = new FakeFiles(this.trace, this.descriptor);
  readonly tun = new FakeTun(this.trace, this.descriptor, this.interfaces, this.privileges);
  readonly packet = new FakePackets(this.trace, this.descriptor, this.interfaces, this.privileges);
  readonly netdev = new FakeNetdev(this.trace, this.descriptor, this.interfaces, this.privileges);
  readonly vhost: FakeVhost;

  constructor(options: FakeKernelOptions = {}) {
    const {
      features = offeredFeatures,
      extendedFeatures,
      forkControl = false,
      taskWorkers = true,
      crossEndian = false,
    } = options;
    const offer = { features, extendedFeatures, forkControl, taskWorkers, crossEndian };
    const workers = new FakeWorkers(this.files);
    this.vhost = new FakeVhost(this.trace, this.descriptor, this.memory, this.schedule, offer, workers);
  }

  /** Every call so far, in order. */
  get calls(): readonly Call[] {
    return this.trace.calls;
  }

  /** The names of the calls so far. */
  get callNames(): string[] {
    return this.trace.calls.map(({ name }) => name);
  }

  /** How many of the calls could have been refused: `failAt` counts these, from 1. */
  get refusable(): number {
    return this.trace.refusable;
  }

  /** Every refusal so far, injected or not, in order. */
  get refusals(): readonly Refusal[] {
    return this.trace.refusals;
  }

  /** What nobody should have done, in words; Linux would have let some of it pass. */
  get violations(): readonly string[] {
    return this.trace.violations;
  }

  /** What is allowed and yet worth a look. */
  get notes(): readonly string[] {
    return this.trace.notes;
  }

  /** Refuses the n-th call that can be refused, counted from 1 since the kernel was made. */
  failAt(n: number, code: string): void {
    this.trace.failAt(n, code);
  }

  /** Refuses calls of one name, such as 'vhost.setMemTable': the first, unless the range says otherwise. */
  failOn(name: string, code: string, range: FailureRange = {}): void {
    this.trace.failOn(name, code, range);
  }

  /** What plays the kernel's worker from now on; a function is one that only listens to kicks. */
  attachDevice(device: FakeDevice | ((queue: FakeQueue) => void)): void {
    this.vhost.device = typeof device === 'function' ? { kicked: device } : device;
  }

  /** A queue of an open vhost device, to act on as the worker would. */
  queue(fd: number, index: number): FakeQueue {
    return this.vhost.openQueue(fd, index);
  }

  /** Resolves when no callback and no turn of the device is due any more. */
  idle(): Promise<void> {
    return this.schedule.idle();
  }

  /** A descriptor that belongs to the caller of the package: it may be used, and is not closed by it. */
  callersDescriptor(
    kind: 'character device' | 'eventfd' | 'tap' | 'memory' | SocketKind,
    size = 1 << 20,
  ): number {
    switch (kind) {
      case 'character device':
        return this.descriptor.install(new CharacterDevice(1, 3), false);
      case 'memory':
        return this.memory.foreignFile(size);
      case 'eventfd':
        return this.eventfd.foreign();
      case 'tap':
        return this.tun.foreign();
      default:
        return this.descriptor.install(new SocketFile(sockets[kind].domain, sockets[kind].type), false);
    }
  }

  /** Something to read arrives at a descriptor: a frame at a tap, say. */
  arrive(fd: number, bytes: Uint8Array): void {
    this.opened(fd).arrive(bytes);
  }

  /** What was written to a descriptor with write(2). */
  written(fd: number): readonly Uint8Array[] {
    return this.opened(fd).written;
  }

  /** Descriptors that the environment owns and has not closed. */
  openDescriptors(): OpenDescriptor[] {
    return this.descriptor.list();
  }

  openMappings(): OpenMapping[] {
    return this.memory.list();
  }

  openPollers(): OpenPoller[] {
    return this.poller.list();
  }

  /** Asserts that nothing is open any more and that nothing happened that should not. */
  assertNothingLeft(): void {
    assert.deepEqual(
      {
        violations: this.violations,
        descriptors: this.openDescriptors(),
        mappings: this.openMappings(),
        pollers: this.openPollers(),
      },
      { violations: [], descriptors: [], mappings: [], pollers: [] },
    );
  }

  private opened(fd: number): OpenFile {
    const file = this.descriptor.peek(fd);
    if (!file) throw new Error(`descriptor ${fd} is not open`);
    return file;
  }
}

const inet = 2;
const datagram = 2;

const sockets = {
  'packet socket': { domain: AF_PACKET, type: SOCK_RAW },
  'cooked packet socket': { domain: AF_PACKET, type: datagram },
  'udp socket': { domain: inet, type: datagram },
  'raw ip socket': { domain: inet, type: SOCK_RAW },
} as const;

type SocketKind = keyof typeof sockets;
