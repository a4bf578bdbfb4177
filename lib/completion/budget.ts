import { VHOST_NET_PKT_WEIGHT, VHOST_NET_WEIGHT } from '../abi/vhost-net.js';
import { checkInteger } from '../errors/check.js';

/**
 * What may be reaped before the loop has a turn: as in the kernel's worker a number of frames and a number of bytes,
 * whichever ends first (vhost_exceeds_weight()).
 */
export class Budget {
  readonly frames: number;
  readonly bytes: number;
  #framesLeft: number;
  #bytesLeft: number;

  constructor(frames: number = VHOST_NET_PKT_WEIGHT, bytes: number = VHOST_NET_WEIGHT) {
    this.frames = checkInteger('budget.frames', frames, 1, 2 ** 31);
    this.bytes = checkInteger('budget.bytes', bytes, 1, 2 ** 31);
    this.#framesLeft = this.frames;
    this.#bytesLeft = this.bytes;
  }

  /** Begins another round. Only in a turn of the loop of its own: a microtask holds up everybody else. */
  renew(): void {
    this.#framesLeft = this.frames;
    this.#bytesLeft = this.bytes;
  }

  /** Frames that the round may still take; 0 where it is over. */
  get left(): number {
    return this.#bytesLeft > 0 ? this.#framesLeft : 0;
  }

  /** Bytes that the round may still take, not above 0 where it is over; a frame that begins within them may end beyond. */
  get bytesLeft(): number {
    return this.#bytesLeft;
  }

  /** Takes from the round, no more frames than are left. */
  spend(frames: number, bytes: number): void {
    this.#framesLeft -= frames;
    this.#bytesLeft -= bytes;
  }
}
