import type { DescriptorSurface } from '../../lib/kernel/kernel.js';
import type { OpenFile } from './fake-file.js';
import { misuse } from './fake-refusal.js';
import type { Entry, Trace } from './fake-trace.js';

/** A descriptor that is open, as tests see it. */
export interface OpenDescriptor {
  readonly fd: number;
  readonly kind: string;
}

interface Slot {
  readonly file: OpenFile;
  /** False for a descriptor that the test handed in: the environment may use it, not close it. */
  readonly owned: boolean;
  watches: number;
}

/**
 * The table of descriptors. Numbers are never given twice, so that a descriptor used after its close is seen
 * rather than mistaken for another.
 */
export class FakeDescriptors implements DescriptorSurface {
  private readonly trace: Trace;
  private readonly slots = new Map<number, Slot>();
  private readonly closed = new Set<number>();
  private next = 100;

  constructor(trace: Trace) {
    this.trace = trace;
  }

  /** A new descriptor of a file. */
  install(file: OpenFile, owned = true): number {
    const fd = this.next++;
    this.slots.set(fd, { file, owned, watches: 0 });
    file.hold();
    return fd;
  }

  /** The file behind a descriptor, of the class that the call is for; refuses with `mismatch` otherwise. */
  file<T extends OpenFile>(entry: Entry, fd: number, type: new (...args: never[]) => T, mismatch: string): T {
    const { file } = this.slot(entry, fd);
    if (!(file instanceof type)) throw entry.refuse(mismatch);
    return file;
  }

  /** The file behind a descriptor, where it is open. */
  peek(fd: number): OpenFile | undefined {
    return this.slots.get(fd)?.file;
  }

  isOpen(fd: number): boolean {
    return this.slots.has(fd);
  }

  /** Notes a watch on a descriptor. */
  watch(entry: Entry, fd: number): OpenFile {
    const slot = this.slot(entry, fd);
    slot.watches++;
    return slot.file;
  }

  unwatch(fd: number): void {
    const slot = this.slots.get(fd);
    if (slot) slot.watches--;
  }

  /** Gives a descriptor up; its file goes with the last holder. */
  release(entry: Entry, fd: number): void {
    const slot = this.slots.get(fd)!;
    if (slot.watches > 0) entry.violation(`descriptor ${fd} closed under its watch`);
    this.slots.delete(fd);
    this.closed.add(fd);
    slot.file.drop();
  }

  list(): OpenDescriptor[] {
    return [...this.slots]
      .filter(([, { owned }]) => owned)
      .map(([fd, { file }]) => ({ fd, kind: file.kind }));
  }

  close(fd: number): void {
    const entry = this.trace.begin('descriptor.close', [fd]);
    const slot = this.slot(entry, fd);
    if (!slot.owned) {
      entry.violation(`descriptor ${fd} belongs to the caller`);
      throw entry.refuse('EBADF');
    }
    slot.file.closing(entry, fd);
    // Linux frees the descriptor even where close(2) reports an error.
    this.release(entry, fd);
    entry.throwInjected();
  }

  duplicate(fd: number): number {
    const entry = this.trace.enter('descriptor.duplicate', [fd]);
    return this.install(this.slot(entry, fd).file);
  }

  stat(fd: number): { type: number; major: number; minor: number } {
    const entry = this.trace.enter('descriptor.stat', [fd]);
    const { type, major, minor } = this.slot(entry, fd).file;
    return { type, major, minor };
  }

  read(fd: number, buffer: Uint8Array): number {
    const entry = this.trace.enter('descriptor.read', [fd, buffer]);
    return this.slot(entry, fd).file.read(entry, buffer);
  }

  write(fd: number, buffer: Uint8Array): number {
    const entry = this.trace.enter('descriptor.write', [fd, buffer]);
    return this.slot(entry, fd).file.write(entry, buffer);
  }

  private slot(entry: Entry, fd: number): Slot {
    const slot = this.slots.get(fd);
    if (slot) return slot;
    if (fd < 0) throw misuse(`${entry.call.name}: fd must be a descriptor; received ${fd}`);
    entry.violation(`descriptor ${fd} ${this.closed.has(fd) ? 'is closed already' : 'was never opened'}`);
    throw entry.refuse('EBADF');
  }
}
