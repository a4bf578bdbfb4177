import {
  VRING_AVAIL_RING_OFFSET,
  VRING_DESC_SIZE,
  VRING_NUM_MAX,
  VRING_USED_ALIGN_SIZE,
  VRING_USED_ELEM_SIZE,
  VRING_USED_RING_OFFSET,
} from '../abi/virtio-ring.js';
import { checkInteger, wrongValue } from '../errors/check.js';

/** Bytes of a buffer, and where in it a part of the ring begins. */
export interface RingPart {
  readonly buffer: ArrayBuffer;
  readonly offset: number;
}

/** Where the three parts of a split ring lie, in bytes from its start (VIRTIO 1.3 §2.7 Split Virtqueues). */
export interface SplitRingLayout {
  readonly size: number;
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
  /** Bytes in all. The start must lie on a multiple of 16. */
  readonly bytes: number;
}

/** A ring size: a power of two up to 32,768 (VIRTIO 1.3 §2.7 Split Virtqueues, "Queue Size"). */
export function checkRingSize(argument: string, size: unknown): number {
  const value = checkInteger(argument, size, 1, VRING_NUM_MAX);
  if ((value & (value - 1)) !== 0) throw wrongValue(argument, 'a power of two', size);
  return value;
}

/** Both rings have room for their event word, whether EVENT_IDX is agreed or not. */
export function splitRingLayout(size: number): SplitRingLayout {
  checkRingSize('size', size);
  const availableRing = size * VRING_DESC_SIZE;
  const availableEnd = availableRing + VRING_AVAIL_RING_OFFSET + 2 * size + 2;
  const usedRing = Math.ceil(availableEnd / VRING_USED_ALIGN_SIZE) * VRING_USED_ALIGN_SIZE;
  const bytes = usedRing + VRING_USED_RING_OFFSET + VRING_USED_ELEM_SIZE * size + 2;
  return { size, descriptorTable: 0, availableRing, usedRing, bytes: Math.ceil(bytes / 16) * 16 };
}
