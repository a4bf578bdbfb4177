export type BackendKind = 'tap' | 'macvtap' | 'packet' | 'remote' | 'program' | 'cable';

/** A watch on what becomes of an interface. */
export interface InterfaceWatch {
  close(): void;
}

/** The network interface of a backend, as it is at the time of asking: netdevice(7). */
export interface BackendInterface {
  readonly name: string;
  /** Bytes of the longest payload, without the Ethernet header (SIOCGIFMTU). */
  readonly mtu: number;
  /** Address of the host's end, "02:00:00:00:00:01" (SIOCGIFHWADDR). */
  readonly mac: string;
  /** Whether it carries frames (IFF_UP). */
  readonly up: boolean;
  /** The path of its network namespace; `undefined` for this process's, for one that nobody named, and where there is none. */
  readonly netns?: string | undefined;
  /** Calls back when something may have happened to it. It holds no loop. */
  watch(changed: () => void): InterfaceWatch;
  close(): void;
}

/**
 * When the kernel is done with a frame that it was given: `sync`, once it has copied it; `async`, once the network
 * stack lets go of it – for frames of 256 bytes and more, out of order with the others.
 */
export type LinkState = 'sync' | 'async';

/** What vhost hands frames to and takes them from: a descriptor whose socket it can reach, and its interface. */
export interface Backend {
  readonly kind: BackendKind;
  /** The descriptor of its first queue. */
  readonly fd: number;
  /** The descriptor of each queue: one for each queue pair of a `Nic`. */
  readonly queues: readonly number[];
  readonly interface: BackendInterface;
  /** Bytes of virtio-net header that the descriptor carries before each frame; 0 where it carries none. */
  readonly headerSize: number;
  /** What may come with the header of a received frame, and what a frame with a header may ask for. */
  readonly offloads: readonly Offload[];
  readonly linkState: LinkState;
  /**
   * Agrees anew on `offloads` (TUNSETOFFLOAD): those listed, or all that the kernel knows; what was agreed. Absent where
   * they are as they were when it was opened.
   */
  readonly setOffloads?: ((wanted: boolean | readonly Offload[]) => readonly Offload[]) | undefined;
  /** Whether the interface behind the descriptor still exists. */
  alive(): boolean;
  /**
   * Has the interface spread frames over a queue, or leave it out and drop what waits in it (TUNSETQUEUE). Throws
   * ERR_VHOST_UNSUPPORTED where it was not opened with several queues (IFF_MULTI_QUEUE).
   */
  switchQueue(queue: number, on: boolean): void;
  /** Closes the descriptors. A vhost device to which one was attached goes on with it until it is detached. Idempotent. */
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * Work on a frame that the other side may leave to this one; the names are those of TUNSETOFFLOAD. The kernel agrees to
 * 'ufo' and leaves no fragmentation to anybody; 'uso4' and 'uso6' it has since Linux 6.2, both or neither.
 */
export type Offload = 'csum' | 'tso4' | 'tso6' | 'ecn' | 'ufo' | 'uso4' | 'uso6';
