import type { EventfdSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import type { Entry, Trace } from './fake-trace.js';

/** A counter that can be waited for. The vhost device signals it without a descriptor. */
export class EventFile extends OpenFile {
  private count = 0;

  constructor() {
    super('eventfd');
  }

  override get readable(): boolean {
    return this.count > 0;
  }

  signal(): void {
    this.count++;
    this.wake();
  }

  take(): number {
    const count = this.count;
    this.count = 0;
    return count;
  }

  override read(entry: Entry, buffer: Uint8Array): number {
    if (buffer.length < 8) throw entry.refuse('EINVAL');
    if (this.count === 0) throw entry.refuse('EAGAIN');
    new DataView(buffer.buffer, buffer.byteOffset).setBigUint64(0, BigInt(this.take()), true);
    return 8;
  }

  override write(entry: Entry, buffer: Uint8Array): number {
    if (buffer.length < 8) throw entry.refuse('EINVAL');
    this.count += Number(new DataView(buffer.buffer, buffer.byteOffset).getBigUint64(0, true));
    this.wake();
    return 8;
  }
}

/** The eventfds of a fake kernel. */
export class FakeEventfds implements EventfdSurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;

  constructor(trace: Trace, descriptors: FakeDescriptors) {
    this.trace = trace;
    this.descriptors = descriptors;
  }

  /** An eventfd that belongs to the caller of the package. */
  foreign(): number {
    return this.descriptors.install(new EventFile(), false);
  }

  create(): number {
    this.trace.enter('eventfd.create', []);
    return this.descriptors.install(new EventFile());
  }

  signal(fd: number): void {
    const entry = this.trace.enter('eventfd.signal', [fd]);
    this.descriptors.file(entry, fd, EventFile, 'EINVAL').signal();
  }

  take(fd: number): number {
    const entry = this.trace.enter('eventfd.take', [fd]);
    return this.descriptors.file(entry, fd, EventFile, 'EINVAL').take();
  }
}
