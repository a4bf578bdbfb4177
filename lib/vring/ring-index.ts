/**
 * Index arithmetic of a split ring. The indexes of both rings run freely over 16 bits and are reduced to a slot
 * only when a slot is touched (VIRTIO 1.3 §2.7.6 The Virtqueue Available Ring).
 */

/** Steps from `from` to `to`, going forward. */
export function distance(from: number, to: number): number {
  return (to - from) & 0xffff;
}

/** The index `steps` after `index`; `steps` may be negative. */
export function advance(index: number, steps: number): number {
  return (index + steps) & 0xffff;
}

/**
 * Whether moving an index from `before` to `after` passes the place at which the other side asked to be told
 * (VIRTIO 1.3 §2.7.10 Available Buffer Notification Suppression, like vring_need_event()).
 */
export function passes(event: number, after: number, before: number): boolean {
  return distance(event + 1, after) < distance(before, after);
}
