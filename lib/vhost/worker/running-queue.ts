import type { DeviceRing, RingFault } from '../../vring/device-ring.js';

/** Why a queue stands still until the driver kicks it again, or for good. */
export type QueueFault =
  /** What vhost_get_vq_desc() refuses. */
  | RingFault
  /** A chain of no bytes. */
  | 'empty'
  /** A buffer to be written among frames to send, or to be read among those to receive into. */
  | 'direction'
  /** A frame that ends within its header. */
  | 'header'
  /** The backend is gone. */
  | 'gone'
  /** This process was refused what it needed, a descriptor or memory: the event has the error. */
  | 'failed';

/** What a queue counts, whatever backends it has had. */
export interface WorkerQueueStats {
  /** Frames that the backend refused, and that were completed all the same. */
  refused: number;
  /** Frames that came and that the driver never got: no buffer could hold them, or memory that is gone. */
  dropped: number;
}

/** Bytes of virtio-net header of a queue's frames. */
export interface HeaderBytes {
  /** Those that are in the driver's buffers alone, and that the backend knows nothing of (vhost_hlen). */
  readonly device: number;
  /** Whether the header has `num_buffers`. */
  readonly counts: boolean;
  /** Whether a frame may take several buffers (VIRTIO_NET_F_MRG_RXBUF). */
  readonly mergeable: boolean;
}

/** A queue that has a backend, as its handler sees it. */
export interface RunningQueue {
  readonly ring: DeviceRing;
  readonly header: HeaderBytes;
  readonly stats: WorkerQueueStats;
  /** Shows the driver what is used, and calls it if it wants that. */
  publish(): void;
  /** Reports an error on the queue; `error` is what it failed with. */
  fail(fault: QueueFault, error?: unknown): void;
}
