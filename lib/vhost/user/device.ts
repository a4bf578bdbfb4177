import type { Awaitable, Vhost } from '../vhost.js';

/** Two queues of a device: the even one receives, the odd one transmits. */
export interface DevicePair {
  readonly vhost: Vhost;
  /** What `Vhost.setBackend` is given when a queue of the pair starts. */
  readonly backendFd: number;
  /** Is told before a queue of the pair starts (0 or 1), and after it has stopped. */
  serve?(queue: number, on: boolean): void;
}

/** What a front-end drives over a connection. */
export interface VhostUserDevice {
  /** Queue pairs, the first of them queues 0 and 1. Their devices are new, or as new. */
  readonly pairs: readonly DevicePair[];
  /** Feature bits offered beside those of the vhost devices: what the backend does by itself. */
  readonly backendFeatures?: bigint;
  /** Is told the feature bits agreed on, before a queue starts and while queues run; throws where they cannot be. */
  agree?(features: bigint): Awaitable<void>;
  /** VHOST_USER_NET_SET_MTU; the request is not offered without it. */
  setMtu?(mtu: number): Awaitable<void>;
  /** Every queue is stopped: closes the devices, or makes them as new. They must have let go of their memory. */
  close(): Awaitable<void>;
}
