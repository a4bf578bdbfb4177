import type { FrameProgram } from '../backend/program.js';
import type { Awaitable } from '../vhost/vhost.js';

/** What a program of the proxy is given. Frames have no virtio-net header. */
export interface ProxyLine {
  /** Hands a frame to the front-end's driver; its bytes are free at once. False where the driver takes none now. */
  deliver(frame: Uint8Array): boolean;
  /**
   * Sends a frame to the tap or macvtap; its bytes are free when the promise resolves. ERR_VHOST_UNSUPPORTED: the proxy
   * was given neither.
   */
  send(frame: Uint8Array): Promise<void>;
  /** Aborts when the proxy ends. */
  readonly signal: AbortSignal;
}

/** Both ways through the proxy. Whatever it throws or rejects with is told, and that frame goes no further. */
export interface ProxyProgram extends FrameProgram {
  /** Takes a frame that came from the tap or macvtap; the bytes are good until the promise settles, or the call returns. */
  receive?(frame: Uint8Array): void | PromiseLike<void>;
}

/** The default export of the file that `vhost-net proxy --program` names. */
export type ProxyProgramFactory = (line: ProxyLine) => Awaitable<ProxyProgram>;
