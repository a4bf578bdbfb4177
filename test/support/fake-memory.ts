import { constants } from 'node:fs';
import type { Mapping, MemorySurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import { misuse } from './fake-refusal.js';
import type { Entry, Trace } from './fake-trace.js';

/** A mapping that is open, as tests see it. */
export interface OpenMapping {
  readonly name: string;
  readonly address: bigint;
  readonly size: number;
}

/** Bytes of a mapping. */
export interface Place {
  readonly buffer: ArrayBuffer;
  readonly offset: number;
}

class MemoryFile extends OpenFile {
  readonly size: number;
  /** The bytes, once the whole file is mapped. */
  buffer: ArrayBuffer | undefined;
  /** Mappings of the whole file. */
  mappings = 0;
  constructor(size: number) {
    super('memfd', constants.S_IFREG);
    this.size = size;
  }
}

const pageBytes = 4096;

/** The memory of a fake kernel: ArrayBuffers at user addresses that it invents. */
export class FakeMemory implements MemorySurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly mappings = new Map<bigint, OpenMapping & { mapping: Mapping; whole?: MemoryFile }>();
  private readonly unmapped = new Set<bigint>();
  /** Huge pages that were set aside: as on most hosts none, unless a test says so. They are there for each mapping. */
  hugePages = 0;
  /** High in the 47 bits of user space, so that an address does not survive being taken for a u32. */
  private next = 0x7f12_3456_7000n;
  /** Asked before memory goes: who was told of it? */
  readonly users = new Set<(entry: Entry, address: bigint, size: number) => void>();

  constructor(trace: Trace, descriptors: FakeDescriptors) {
    this.trace = trace;
    this.descriptors = descriptors;
  }

  list(): OpenMapping[] {
    return [...this.mappings].map(([address, { name, size }]) => ({ name, address, size }));
  }

  /** Where a user address is, if `length` bytes from it on are mapped. */
  find(address: bigint, length: number): Place | undefined {
    for (const [start, { size, mapping }] of this.mappings) {
      const offset = address - start;
      if (offset >= 0n && offset + BigInt(length) <= BigInt(size))
        return { buffer: mapping.buffer, offset: Number(offset) };
    }
    return undefined;
  }

  /** A file of memory that belongs to the test: for `map`. */
  foreignFile(size: number): number {
    return this.descriptors.install(new MemoryFile(size), false);
  }

  pageSize(): number {
    this.trace.tell('memory.pageSize', []);
    return pageBytes;
  }

  create(name: string, size: number, hugePageSize: number): Mapping {
    const entry = this.trace.enter('memory.create', [name, size, hugePageSize]);
    if (size <= 0 || size % pageBytes !== 0) throw entry.refuse('EINVAL');
    if (hugePageSize !== 0 && size / hugePageSize > this.hugePages) throw entry.refuse('ENOMEM');
    const file = new MemoryFile(size);
    return this.place(name, size, this.descriptors.install(file), file);
  }

  map(fd: number, offset: number, size: number): Mapping {
    const entry = this.trace.enter('memory.map', [fd, offset, size]);
    const file = this.descriptors.file(entry, fd, MemoryFile, 'ENODEV');
    if (offset + size > file.size) throw misuse('memory.map: size must be within the file that is mapped');
    if (size <= 0 || offset < 0) throw entry.refuse('EINVAL');
    // Two ArrayBuffers cannot share bytes: unlike on Linux, only mappings of a whole file see each other's.
    return this.place('map', size, -1, size === file.size ? file : undefined);
  }

  unmap(mapping: Mapping): void {
    const entry = this.trace.begin('memory.unmap', [mapping]);
    const found = this.mappings.get(mapping.address);
    if (!found) {
      const known = this.unmapped.has(mapping.address);
      entry.violation(
        `memory at ${hex(mapping.address)} ${known ? 'is unmapped already' : 'was never mapped'}`,
      );
      throw entry.refuse('EINVAL');
    }
    // A mapping that came to the same address later is another one: its buffer tells.
    if (found.mapping.buffer !== mapping.buffer) throw entry.refuse('EINVAL');
    for (const user of this.users) user(entry, mapping.address, found.size);
    // Moves the bytes away: every view of the buffer has length 0 from here on, as after the native detach. Those of
    // another mapping of the file would have it too, and must not.
    if (found.whole === undefined || --found.whole.mappings === 0) {
      const moved = structuredClone(found.mapping.buffer, { transfer: [found.mapping.buffer] });
      // What is in a file stays there for whoever maps it next.
      if (found.whole !== undefined) found.whole.buffer = moved;
    }
    this.mappings.delete(mapping.address);
    this.unmapped.add(mapping.address);
    if (found.mapping.fd !== -1) {
      if (this.descriptors.isOpen(found.mapping.fd)) this.descriptors.release(entry, found.mapping.fd);
      else entry.violation(`descriptor ${found.mapping.fd} of the mapping is closed already`);
    }
    entry.throwInjected();
  }

  private place(name: string, size: number, fd: number, whole?: MemoryFile): Mapping {
    const address = this.next;
    // A gap after each mapping, so that an access beyond its end finds nothing.
    this.next += BigInt(Math.ceil(size / pageBytes) + 16) * BigInt(pageBytes);
    const buffer = whole?.buffer ?? new ArrayBuffer(size);
    if (whole !== undefined) {
      whole.buffer = buffer;
      whole.mappings++;
    }
    const mapping: Mapping = { fd, address, buffer };
    this.mappings.set(address, { name, address, size, mapping, ...(whole && { whole }) });
    return mapping;
  }
}

export function hex(address: bigint): string {
  return `0x${address.toString(16)}`;
}
