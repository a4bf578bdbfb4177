import {
  VHOST_ACCESS_RO,
  VHOST_ACCESS_WO,
  VHOST_IOTLB_INVALIDATE,
  VHOST_IOTLB_MISS,
  VHOST_IOTLB_MSG,
  VHOST_IOTLB_MSG_V2,
  VHOST_IOTLB_UPDATE,
  VHOST_MSG_SIZE,
} from '../../lib/abi/vhost.js';
import type { FakeQueue } from './fake-queue.js';
import type { Entry } from './fake-trace.js';

/** One mapping, as VHOST_IOTLB_UPDATE made it. */
export interface IotlbEntry {
  readonly iova: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
  readonly permission: number;
}

interface Miss {
  readonly queue: FakeQueue;
  readonly iova: bigint;
  readonly permission: number;
}

/** Bytes of a message up to the end of its struct vhost_iotlb_msg. */
const LEAST = 40;

/**
 * The IOTLB of a fake vhost device, like vhost_process_iotlb_msg() and vhost_iotlb_miss(): mappings, misses that wait to
 * be read, and misses that were read and wait for an update.
 */
export class FakeIotlb {
  /** Oldest first. */
  entries: IotlbEntry[] = [];
  /** Messages in place of those of the device, for a test to send what no kernel does. */
  readonly forged: Uint8Array[] = [];
  #unread: Miss[] = [];
  #unanswered: Miss[] = [];
  readonly #wake: () => void;
  readonly #turn: (queue: FakeQueue) => void;

  /** `wake` is called when there is something to read, `turn` when a queue may go on. */
  constructor(wake: () => void, turn: (queue: FakeQueue) => void) {
    this.#wake = wake;
    this.#turn = turn;
  }

  get readable(): boolean {
    return this.#unread.length + this.forged.length > 0;
  }

  /** The user address behind the first of `length` bytes, where all of them lie in one mapping that allows the access. */
  translate(queue: FakeQueue, iova: bigint, length: number, permission: number): bigint | undefined {
    const entry = this.entries.find((one) => iova >= one.iova && iova < one.iova + one.size);
    if (entry === undefined) {
      this.#unread.push({ queue, iova, permission });
      this.#wake();
      return undefined;
    }
    if ((permission & ~entry.permission) !== 0) {
      queue.error();
      return undefined;
    }
    if (iova + BigInt(length) > entry.iova + entry.size)
      // As if the rest were missing: this fake copies from one place only.
      return this.translate(queue, entry.iova + entry.size, 1, permission) && undefined;
    return entry.userAddress + iova - entry.iova;
  }

  read(entry: Entry, buffer: Uint8Array, v2: boolean): number {
    if (buffer.length < VHOST_MSG_SIZE) return 0;
    const forged = this.forged.shift();
    if (forged !== undefined) {
      buffer.set(forged);
      return forged.length;
    }
    const miss = this.#unread.shift();
    if (miss === undefined) throw entry.refuse('EAGAIN');
    this.#unanswered.push(miss);
    const view = new DataView(buffer.buffer, buffer.byteOffset, VHOST_MSG_SIZE);
    buffer.fill(0, 0, VHOST_MSG_SIZE);
    view.setUint32(0, v2 ? VHOST_IOTLB_MSG_V2 : VHOST_IOTLB_MSG, true);
    view.setBigUint64(8, miss.iova, true);
    view.setUint8(32, miss.permission);
    view.setUint8(33, VHOST_IOTLB_MISS);
    return VHOST_MSG_SIZE;
  }

  write(entry: Entry, bytes: Uint8Array): number {
    if (bytes.length < LEAST) throw entry.refuse('EINVAL');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const layout = view.getUint32(0, true);
    if (layout !== VHOST_IOTLB_MSG && layout !== VHOST_IOTLB_MSG_V2) throw entry.refuse('EINVAL');
    const type = view.getUint8(33);
    const [iova, size, userAddress] = [8, 16, 24].map((at) => view.getBigUint64(at, true)) as [
      bigint,
      bigint,
      bigint,
    ];
    if (type === VHOST_IOTLB_UPDATE && size === 0n) throw entry.refuse('EINVAL');
    if (type === VHOST_IOTLB_UPDATE) {
      if (userAddress + size > 1n << 47n) throw entry.refuse('EFAULT');
      this.entries.push({ iova, size, userAddress, permission: view.getUint8(32) });
      const covered = (miss: Miss): boolean => miss.iova >= iova && miss.iova < iova + size;
      const answered = this.#unanswered.filter(covered);
      this.#unanswered = this.#unanswered.filter((miss) => !covered(miss));
      for (const { queue } of answered) this.#turn(queue);
    } else if (type === VHOST_IOTLB_INVALIDATE)
      this.entries = this.entries.filter((one) => one.iova >= iova + size || iova >= one.iova + one.size);
    else throw entry.refuse('EFAULT');
    return VHOST_MSG_SIZE;
  }

  /** Like vhost_clear_msg(): whoever waits for an answer waits for ever, or for a kick. */
  clear(): void {
    this.#unread = [];
    this.#unanswered = [];
  }
}

export const READ = VHOST_ACCESS_RO;
export const WRITE = VHOST_ACCESS_WO;
