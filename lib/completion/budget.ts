import { VHOST_NET_PKT_WEIGHT, VHOST_NET_WEIGHT } from '../abi/vhost-net.js';
import { checkInteger } from '../errors/check.js';

/**
 * What one round of reaping may take before it hands the loop back: as in the kernel's worker a number of frames and
 * a number of bytes, whichever ends first (vhost_exceeds_weight()).
 */
export class Budget {
  readonly frames: number;
  readonly bytes: number;
  #framesLeft = 0;
  #bytesLeft = 0;

  constructor(frames: number = VHOST_NET_PKT_WEIGHT, bytes: number = VHOST_NET_WEIGHT) {
    this.frames = checkInteger('budget.frames', frames, 1, 2 ** 31);
    this.bytes = checkInteger('budget.bytes', bytes, 1, 2 ** 31);
  }

  /** Begins a round. */
  renew(): void {
    this.#framesLeft = this.frames;
    this.#bytesLeft = this.bytes;
  }

  /** Frames that the round may still take; 0 where it is over. */
  get left(): number {
    return this.#bytesLeft > 0 ? this.#framesLeft : 0;
  }

  /** Bytes that the round may still take; not above 0 where it is over. */
  get bytesLeft(): number {
    return this.#bytesLeft;
  }

  /** Takes from the round; a frame that begins within it may end beyond it. */
  spend(frames: number, bytes: number): void {
    this.#framesLeft -= frames;
    this.#bytesLeft -= bytes;
  }
}
