import { constants } from 'node:fs';
import type { Entry } from './fake-trace.js';

/** An open file: what descriptors, and the kernel itself, hold. It ends with its last holder. */
export class OpenFile {
  readonly kind: string;
  readonly type: number;
  readonly major: number;
  readonly minor: number;
  /** Called when something may have become readable or writable. */
  readonly wakes = new Set<() => void>();
  /** What read(2) will give, one item a call. */
  readonly incoming: Uint8Array[] = [];
  /** What write(2) took. */
  readonly written: Uint8Array[] = [];
  private holders = 0;

  constructor(kind: string, type = 0, major = 0, minor = 0) {
    this.kind = kind;
    this.type = type;
    this.major = major;
    this.minor = minor;
  }

  hold(): void {
    this.holders++;
  }

  drop(): void {
    if (--this.holders === 0) this.released();
  }

  get readable(): boolean {
    return this.incoming.length > 0;
  }

  get writable(): boolean {
    return true;
  }

  /** What poll(2) would report as EPOLLERR. */
  get broken(): boolean {
    return false;
  }

  wake(): void {
    for (const wake of this.wakes) wake();
  }

  /** Something to read arrives. */
  arrive(bytes: Uint8Array): void {
    this.incoming.push(bytes.slice());
    this.wake();
  }

  read(entry: Entry, buffer: Uint8Array): number {
    const bytes = this.incoming.shift();
    if (!bytes) throw entry.refuse('EAGAIN');
    const taken = bytes.subarray(0, buffer.length);
    buffer.set(taken);
    return taken.length;
  }

  write(_entry: Entry, buffer: Uint8Array): number {
    this.written.push(buffer.slice());
    return buffer.length;
  }

  /** One of the descriptors is about to close; throws where the native part does not let it. */
  closing(_entry: Entry, _fd: number): void {}

  /** The last holder let go. */
  protected released(): void {}
}

/** A character device that is none of those the package drives, such as /dev/null. */
export class CharacterDevice extends OpenFile {
  constructor(major: number, minor: number) {
    super('character device', constants.S_IFCHR, major, minor);
  }
}
