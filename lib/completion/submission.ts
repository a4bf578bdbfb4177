import type { FrameOwner } from './ledger.js';

/** How far a frame of a submission has come. */
export const FrameStatus = {
  /** Not posted yet: it waits for room in the ring. */
  waiting: 0,
  /** The device has it. */
  inFlight: 1,
  /** The device is done with it. */
  completed: 2,
  /** The device had it and was detached before it returned it: it may or may not have been sent. */
  abandoned: 3,
  /** Never posted: the wait was aborted or the queue closed. */
  withdrawn: 4,
} as const;

/** How many frames of a submission ended in which way. */
export interface SubmissionResult {
  readonly completed: number;
  readonly abandoned: number;
  readonly withdrawn: number;
}

/**
 * Frames submitted together. They are posted in order, complete in any order, and the submission ends when the fate
 * of its last frame is known.
 */
export class Submission implements FrameOwner {
  /** Frames. */
  readonly size: number;
  /** By frame: a `FrameStatus`. */
  readonly status: Uint8Array;
  /** By frame: milliseconds from post to completion, NaN until then. */
  readonly latency: Float64Array;
  #posted = 0;
  #completedFrames = 0;
  #abandonedFrames = 0;
  #withdrawnFrames = 0;
  #accepted: Deferred<void> | undefined;
  #completed: Deferred<SubmissionResult> | undefined;
  #refusal: unknown;

  constructor(size: number) {
    this.size = size;
    this.status = new Uint8Array(size);
    this.latency = new Float64Array(size).fill(Number.NaN);
  }

  /** Frames posted so far. */
  get posted(): number {
    return this.#posted;
  }

  /** Frames whose fate is not known yet. */
  get pending(): number {
    return this.size - this.#completedFrames - this.#abandonedFrames - this.#withdrawnFrames;
  }

  /** Whether some frames were withdrawn. */
  get refused(): boolean {
    return this.#withdrawnFrames > 0;
  }

  /** How the frames have ended so far. */
  get result(): SubmissionResult {
    return {
      completed: this.#completedFrames,
      abandoned: this.#abandonedFrames,
      withdrawn: this.#withdrawnFrames,
    };
  }

  /** Resolves when every frame is posted, so that the caller's own copies are free; rejects where some never will be. */
  get accepted(): Promise<void> {
    this.#accepted ??= new Deferred();
    this.#resolveAccepted();
    return this.#accepted.promise;
  }

  /** Resolves when every frame's fate is known. It never rejects: `abandoned` and `withdrawn` tell what was not sent. */
  get completed(): Promise<SubmissionResult> {
    this.#completed ??= new Deferred();
    if (this.pending === 0) this.#completed.resolve(this.result);
    return this.#completed.promise;
  }

  /** The frame at `posted` went to the device; its position. */
  post(): number {
    const position = this.#posted++;
    this.status[position] = FrameStatus.inFlight;
    if (this.#posted === this.size) this.#resolveAccepted();
    return position;
  }

  settle(position: number, completed: boolean, latency: number): void {
    this.status[position] = completed ? FrameStatus.completed : FrameStatus.abandoned;
    if (completed) {
      this.#completedFrames++;
      this.latency[position] = latency;
    } else this.#abandonedFrames++;
    this.#end();
  }

  /** No frame that is not posted yet ever will be, because of `reason`. */
  withdraw(reason: unknown): void {
    if (this.#posted === this.size) return;
    this.#withdrawnFrames = this.size - this.#posted;
    this.status.fill(FrameStatus.withdrawn, this.#posted);
    this.#refusal = reason;
    this.#resolveAccepted();
    this.#end();
  }

  #resolveAccepted(): void {
    if (this.#withdrawnFrames > 0) this.#accepted?.reject(this.#refusal);
    else if (this.#posted === this.size) this.#accepted?.resolve();
  }

  #end(): void {
    if (this.pending === 0) this.#completed?.resolve(this.result);
  }
}

class Deferred<T> {
  readonly promise: Promise<T>;
  declare resolve: (value: T) => void;
  declare reject: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}
