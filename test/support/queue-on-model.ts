import assert from 'node:assert/strict';
import type { BusyPoll } from '../../lib/completion/busy-poll.js';
import { Ledger } from '../../lib/completion/ledger.js';
import type { VhostError } from '../../lib/errors/errors.js';
import { FramePool } from '../../lib/memory/frame-pool.js';
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import { clearHeader, HEADER_SIZE } from '../../lib/net/header.js';
import { ReceiveQueue } from '../../lib/net/receive-queue.js';
import { TransmitQueue } from '../../lib/net/transmit-queue.js';
import { DriverRing } from '../../lib/vring/driver-ring.js';
import { splitRingLayout } from '../../lib/vring/layout.js';
import { FakeKernel } from './fake-kernel.js';
import type { Chain, ModelDevice } from './model-device.js';
import { attachModel } from './ring-and-model.js';

export interface QueueOptions {
  readonly size?: number;
  readonly bufferSize?: number;
  readonly count?: number;
  readonly eventIdx?: boolean;
  readonly base?: number;
}

interface Parts {
  readonly ring: DriverRing;
  readonly ledger: Ledger;
  readonly pool: FramePool;
}

function makeParts(options: QueueOptions, queue: number, entries: number): Parts {
  const { size = 8, bufferSize = 128, count = 3 * size, eventIdx = false, base = 0 } = options;
  const { bytes } = splitRingLayout(size);
  const tables = size * entries * 16;
  const memory = new GuestMemory(new FakeKernel());
  const region = memory.addRegion({ size: bytes + tables + (bufferSize + 64) * count + 4096 });
  const pool = new FramePool(memory, bufferSize, count);
  const { offset } = memory.allocate(bytes + tables);
  const indirect = entries > 0 && { indirect: { offset: offset + bytes, entries } };
  const ring = new DriverRing({ region, offset, size, queue, eventIdx, base, ...indirect });
  return { ring, ledger: new Ledger(size), pool };
}

/** What holds at every observable moment of a queue: every buffer is somewhere, and in one place. */
export function checkPool(pool: FramePool, posted: number): void {
  let leased = 0;
  for (let buffer = 0; buffer < pool.count; buffer++) if (pool.isLeased(buffer)) leased++;
  assert.equal(pool.free + leased + posted, pool.count, 'free + leased + posted = count');
}

/** The offsets and lengths of a chain in the memory that its ring is in. */
function pieces(ring: DriverRing, chain: Chain): Uint8Array[] {
  return chain.segments.map(({ gpa, length }) => {
    const start = Number(gpa) - ring.region.guestPhysicalAddress;
    return ring.region.bytes.subarray(start, start + length);
  });
}

/** A receive queue and the device that fills it. */
export class ReceiveOnModel {
  readonly queue: ReceiveQueue;
  device: ModelDevice;
  kicks = 0;
  readonly #eventIdx: boolean;

  constructor(options: QueueOptions & { readonly mergeable?: boolean; readonly reserve?: number } = {}) {
    const { mergeable = true, reserve = 0 } = options;
    const parts = makeParts(options, 0, 0);
    this.queue = new ReceiveQueue({ ...parts, kick: () => this.kicks++, mergeable, reserve });
    this.#eventIdx = options.eventIdx ?? false;
    this.device = attachModel(parts.ring, this.#eventIdx);
  }

  reattach(): void {
    this.device = attachModel(this.queue.ring, this.#eventIdx);
  }

  /** Takes a buffer and writes into it. */
  write(bytes: Uint8Array): { head: number; room: number } {
    const chain = this.device.take();
    assert.ok(chain, 'the device has a buffer to write to');
    const [piece] = pieces(this.queue.ring, chain);
    piece!.set(bytes.subarray(0, piece!.length));
    return { head: chain.head, room: piece!.length };
  }

  /** A frame in as many buffers as it takes: their heads and lengths, still to be completed. */
  fill(frame: Uint8Array, numBuffers?: number): { head: number; length: number }[] {
    const { bufferSize } = this.queue.pool;
    const bytes = new Uint8Array(HEADER_SIZE + frame.length);
    bytes.set(frame, HEADER_SIZE);
    const buffers = Math.ceil(bytes.length / bufferSize);
    new DataView(bytes.buffer).setUint16(10, numBuffers ?? buffers, true);
    const filled: { head: number; length: number }[] = [];
    for (let at = 0; at < bytes.length; at += bufferSize) {
      const { head, room } = this.write(bytes.subarray(at));
      filled.push({ head, length: Math.min(room, bytes.length - at) });
    }
    return filled;
  }

  /** An honest frame, published. */
  receive(frame: Uint8Array): void {
    for (const { head, length } of this.fill(frame)) this.device.complete(head, length);
    this.device.publish();
  }

  /** The bytes of a frame that was reaped, without its header. */
  frame(first: number): Uint8Array {
    const { pool } = this.queue;
    const parts: Uint8Array[] = [];
    for (let buffer = first; buffer !== -1; buffer = pool.next[buffer]!) {
      assert.ok(pool.isLeased(buffer), `buffer ${buffer} of a frame is out on lease`);
      parts.push(pool.bytes.subarray(pool.offset(buffer), pool.offset(buffer) + pool.length[buffer]!));
    }
    return Buffer.concat(parts).subarray(HEADER_SIZE);
  }
}

/** A transmit queue and the device that empties it. */
export class TransmitOnModel {
  readonly queue: TransmitQueue;
  /** Descriptors of an indirect table; 0 where there are none. */
  readonly entries: number;
  device: ModelDevice;
  kicks = 0;
  readonly #eventIdx: boolean;

  constructor(
    options: QueueOptions & {
      readonly entries?: number;
      readonly mtu?: number;
      readonly maxFrames?: number;
      readonly maxBytes?: number;
      readonly corrupted?: (error: VhostError) => void;
      readonly busyPoll?: BusyPoll;
    } = {},
  ) {
    const { entries = 0, mtu = 1500, maxFrames = 2 ** 31, maxBytes = 2 ** 40, corrupted, busyPoll } = options;
    this.entries = entries;
    const parts = makeParts(options, 1, entries);
    const chosen = { ...(corrupted && { corrupted }), ...(busyPoll && { busyPoll }) };
    this.queue = new TransmitQueue({
      ...parts,
      ...chosen,
      kick: () => this.kicks++,
      mtu,
      maxFrames,
      maxBytes,
    });
    this.#eventIdx = options.eventIdx ?? false;
    this.device = attachModel(parts.ring, this.#eventIdx);
  }

  reattach(): void {
    this.device = attachModel(this.queue.ring, this.#eventIdx);
  }

  /** Leases buffers and puts a frame with an empty header into them; -1 where too few are free. */
  lease(frame: Uint8Array): number {
    const { pool } = this.queue;
    const bytes = new Uint8Array(HEADER_SIZE + frame.length);
    clearHeader(bytes, 0);
    bytes.set(frame, HEADER_SIZE);
    if (Math.ceil(bytes.length / pool.bufferSize) > pool.free) return -1;
    const first = pool.lease();
    for (let at = 0, buffer = first; ; ) {
      const piece = bytes.subarray(at, at + pool.bufferSize);
      pool.bytes.set(piece, pool.offset(buffer));
      pool.length[buffer] = piece.length;
      at += piece.length;
      if (at === bytes.length) return first;
      const next = pool.lease();
      pool.next[buffer] = next;
      buffer = next;
    }
  }

  /** The next frame that the device takes: its head, its bytes without the header. */
  take(): { head: number; frame: Uint8Array } | undefined {
    const chain = this.device.take();
    if (chain === undefined) return undefined;
    assert.ok(chain.segments.every(({ writable }) => !writable));
    return {
      head: chain.head,
      frame: Buffer.concat(pieces(this.queue.ring, chain)).subarray(HEADER_SIZE),
    };
  }
}

/** A frame of `length` bytes that says which it is. */
export function numberedFrame(serial: number, length: number): Uint8Array {
  const frame = new Uint8Array(length);
  for (let i = 0; i < length; i++) frame[i] = Math.imul(serial + 1, 31) + i;
  if (length >= 4) new DataView(frame.buffer).setUint32(0, serial);
  return frame;
}
