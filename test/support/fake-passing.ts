import { constants } from 'node:fs';
import type { PassingSurface, PeerCredentials, Received } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import type { Entry, Trace } from './fake-trace.js';

/** Bytes that one call of send(2) put into a stream, and the files that travel with the first of them. */
interface Segment {
  bytes: Uint8Array;
  files: OpenFile[];
}

/** Bytes that a stream holds before its sender has to wait. */
const CAPACITY = 200_000;

/** One end of a connected pair of unix stream sockets. */
class StreamFile extends OpenFile {
  peer: StreamFile | undefined;
  readonly segments: Segment[] = [];

  constructor() {
    super('unix socket', constants.S_IFSOCK);
  }

  static pair(): [StreamFile, StreamFile] {
    const ends: [StreamFile, StreamFile] = [new StreamFile(), new StreamFile()];
    [ends[0].peer, ends[1].peer] = [ends[1], ends[0]];
    return ends;
  }

  get held(): number {
    return this.segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  override get readable(): boolean {
    return this.segments.length > 0 || this.peer === undefined;
  }

  override get writable(): boolean {
    return this.peer === undefined || this.peer.held < CAPACITY;
  }

  /** Like unix_stream_read_generic(): goes on over segments until one that carried files. */
  take(buffer: Uint8Array): { size: number; files: OpenFile[] } {
    let size = 0;
    let files: OpenFile[] = [];
    while (size < buffer.length && this.segments.length > 0 && files.length === 0) {
      const segment = this.segments[0]!;
      const part = segment.bytes.subarray(0, buffer.length - size);
      buffer.set(part, size);
      size += part.length;
      files = segment.files.splice(0);
      segment.bytes = segment.bytes.subarray(part.length);
      if (segment.bytes.length === 0) this.segments.shift();
    }
    this.peer?.wake();
    return { size, files };
  }

  protected override released(): void {
    for (const file of this.segments.splice(0).flatMap(({ files }) => files)) file.drop();
    if (!this.peer) return;
    this.peer.peer = undefined;
    this.peer.wake();
  }
}

/** A socket that listens. */
class ListenerFile extends OpenFile {
  readonly backlog: number;
  readonly waiting: StreamFile[] = [];
  private readonly gone: () => void;

  constructor(backlog: number, gone: () => void) {
    super('unix listener', constants.S_IFSOCK);
    this.backlog = backlog;
    this.gone = gone;
  }

  override get readable(): boolean {
    return this.waiting.length > 0;
  }

  protected override released(): void {
    this.gone();
    for (const end of this.waiting.splice(0)) end.drop();
  }
}

/** The unix sockets of a fake kernel; their paths are no files. */
export class FakePassing implements PassingSurface {
  /** Who every peer is said to be. */
  peer: PeerCredentials = { pid: 1000, uid: 0, gid: 0 };
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly listeners = new Map<string, ListenerFile>();

  constructor(trace: Trace, descriptors: FakeDescriptors) {
    this.trace = trace;
    this.descriptors = descriptors;
  }

  listen(path: string, mode: number, backlog: number): number {
    const entry = this.trace.enter('passing.listen', [path, mode, backlog]);
    if (this.listeners.has(path)) throw entry.refuse('EADDRINUSE');
    const listener = new ListenerFile(backlog, () => this.listeners.delete(path));
    this.listeners.set(path, listener);
    return this.descriptors.install(listener);
  }

  accept(fd: number): number {
    const entry = this.trace.enter('passing.accept', [fd]);
    const end = this.descriptors.file(entry, fd, ListenerFile, 'EINVAL').waiting.shift();
    if (!end) throw entry.refuse('EAGAIN');
    const accepted = this.descriptors.install(end);
    end.drop();
    return accepted;
  }

  connect(path: string): number {
    const entry = this.trace.enter('passing.connect', [path]);
    const listener = this.listeners.get(path);
    if (!listener) throw entry.refuse('ENOENT');
    if (listener.waiting.length > listener.backlog) throw entry.refuse('EAGAIN');
    const [own, other] = StreamFile.pair();
    other.hold();
    listener.waiting.push(other);
    listener.wake();
    return this.descriptors.install(own);
  }

  pair(): [number, number] {
    this.trace.enter('passing.pair', []);
    const [first, second] = StreamFile.pair();
    return [this.descriptors.install(first), this.descriptors.install(second)];
  }

  send(fd: number, bytes: Uint8Array, fds: readonly number[]): number {
    const entry = this.trace.enter('passing.send', [fd, bytes, fds]);
    const { peer } = this.stream(entry, fd);
    if (!peer) throw entry.refuse('EPIPE');
    const files = fds.map((passed) => this.descriptors.file(entry, passed, OpenFile, 'EBADF'));
    const room = CAPACITY - peer.held;
    if (room <= 0) throw entry.refuse('EAGAIN');
    for (const file of files) file.hold();
    const part = bytes.slice(0, room);
    peer.segments.push({ bytes: part, files });
    peer.wake();
    return part.length;
  }

  receive(fd: number, buffer: Uint8Array): Received {
    const entry = this.trace.enter('passing.receive', [fd, buffer]);
    const stream = this.stream(entry, fd);
    if (stream.segments.length === 0 && stream.peer) throw entry.refuse('EAGAIN');
    const { size, files } = stream.take(buffer);
    const fds = files.map((file) => this.descriptors.install(file));
    for (const file of files) file.drop();
    return { size, fds };
  }

  peerCredentials(fd: number): PeerCredentials {
    this.stream(this.trace.enter('passing.peerCredentials', [fd]), fd);
    return this.peer;
  }

  private stream(entry: Entry, fd: number): StreamFile {
    return this.descriptors.file(entry, fd, StreamFile, 'ENOTSOCK');
  }
}
