import { AF_UNIX, SOCK_SEQPACKET } from '../../lib/abi/socket.js';
import { errnoOf } from '../../lib/errors/refusal.js';
import type { FramesSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import type { FakeMemory } from './fake-memory.js';
import { SocketFile } from './fake-packet.js';
import type { Refusal } from './fake-refusal.js';
import type { Entry, Trace } from './fake-trace.js';

/** Frames that a socket pair holds before its writer has to wait. */
const CAPACITY = 64;

/** One end of a socketpair(2) of SOCK_SEQPACKET. */
class PairFile extends SocketFile {
  peer: PairFile | undefined;

  constructor() {
    super(AF_UNIX, SOCK_SEQPACKET);
  }

  override get readable(): boolean {
    return super.readable || this.peer === undefined;
  }

  override get writable(): boolean {
    return this.peer === undefined || this.peer.incoming.length < CAPACITY;
  }

  override read(entry: Entry, buffer: Uint8Array): number {
    if (this.incoming.length === 0 && this.peer === undefined) return 0;
    const bytes = super.read(entry, buffer);
    this.peer?.wake();
    return bytes;
  }

  override write(entry: Entry, bytes: Uint8Array): number {
    if (this.peer === undefined) throw entry.refuse('EPIPE');
    if (!this.writable) throw entry.refuse('EAGAIN');
    this.peer.arrive(bytes);
    return bytes.length;
  }

  protected override released(): void {
    if (this.peer === undefined) return;
    this.peer.peer = undefined;
    this.peer.wake();
  }
}

/** Reading and writing of frames in a fake kernel. */
export class FakeFrames implements FramesSurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly memory: FakeMemory;

  constructor(trace: Trace, descriptors: FakeDescriptors, memory: FakeMemory) {
    this.trace = trace;
    this.descriptors = descriptors;
    this.memory = memory;
  }

  write(
    fd: number,
    pieces: Float64Array,
    ends: Uint32Array,
    results: Int32Array,
    first: number,
    count: number,
    skip: number,
  ): number {
    for (let chain = first; chain < count; chain++) {
      const entry = this.trace.begin('frames.write', [fd]);
      const result = attempt(() => {
        entry.throwInjected();
        const parts = this.parts(pieces, chain === 0 ? 0 : ends[chain - 1]!, ends[chain]!);
        return this.descriptors.file(entry, fd, OpenFile, 'EBADF').write(entry, join(parts).subarray(skip));
      });
      results[chain] = result;
      if (result < 0) return chain;
    }
    return count;
  }

  read(
    fd: number,
    pieces: Float64Array,
    ends: Uint32Array,
    results: Int32Array,
    first: number,
    count: number,
    skip: number,
    need: number,
  ): number {
    const start = (chain: number): number => (chain === 0 ? 0 : ends[chain - 1]!);
    const bytesOf = (parts: readonly Uint8Array[]): number =>
      parts.reduce((sum, { length }) => sum + length, 0);
    let frames = 0;
    for (let chain = first; chain < count && 2 * frames < results.length; frames++) {
      let end = chain;
      const chains: Uint8Array[][] = [];
      do chains.push(this.parts(pieces, start(end), ends[end++]!));
      while (end < count && bytesOf(chains.flat()) - skip < need);
      const room = bytesOf(chains.flat()) - skip;
      const spill = this.parts(pieces, start(count), start(count) + 1);
      const entry = this.trace.begin('frames.read', [fd]);
      const frame = new Uint8Array(room + bytesOf(spill));
      const result = attempt(() => {
        entry.throwInjected();
        return this.descriptors.file(entry, fd, OpenFile, 'EBADF').read(entry, frame);
      });
      results[2 * frames] = result;
      results[2 * frames + 1] = result <= 0 ? 0 : -chains.length;
      if (result > 0) spread(frame.subarray(0, result), [...chains.flat(), ...spill], skip);
      if (result <= 0 || result > room) return frames + 1;
      let used = 0;
      for (let held = 0; held < skip + result; used++) held += bytesOf(chains[used]!);
      results[2 * frames + 1] = used;
      chain += used;
    }
    return frames;
  }

  setNonBlocking(fd: number): void {
    const entry = this.trace.enter('frames.setNonBlocking', [fd]);
    this.descriptors.file(entry, fd, OpenFile, 'EBADF');
  }

  pair(): [number, number] {
    this.trace.enter('frames.pair', []);
    const ends = [new PairFile(), new PairFile()] as const;
    [ends[0].peer, ends[1].peer] = [ends[1], ends[0]];
    return [this.descriptors.install(ends[0]), this.descriptors.install(ends[1])];
  }

  /** The bytes of pieces, in memory. */
  private parts(pieces: Float64Array, start: number, end: number): Uint8Array[] {
    return Array.from({ length: end - start }, (_, i) => {
      const address = BigInt(pieces[2 * (start + i)]!);
      const bytes = pieces[2 * (start + i) + 1]!;
      const place = this.memory.find(address, bytes);
      if (place === undefined) throw new Error(`no ${bytes} bytes at 0x${address.toString(16)}`);
      return new Uint8Array(place.buffer, place.offset, bytes);
    });
  }
}

/** A refusal is a result here. */
function attempt(call: () => number): number {
  try {
    return call();
  } catch (error) {
    const { code } = error as Refusal;
    if (code === undefined) throw error;
    return -errnoOf(code);
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Copies a frame into pieces of memory, of which the first `skip` bytes are left out. */
function spread(frame: Uint8Array, parts: readonly Uint8Array[], skip: number): void {
  let left = skip;
  let at = 0;
  for (const part of parts) {
    const skipped = Math.min(left, part.length);
    left -= skipped;
    const bytes = frame.subarray(at, at + part.length - skipped);
    part.set(bytes, skipped);
    at += bytes.length;
  }
}
