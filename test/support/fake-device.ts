import type { FakeQueue } from './fake-queue.js';

/** What plays the kernel's worker in a test. */
export interface FakeDevice {
  /** A backend was set: the queue runs. */
  attached?(queue: FakeQueue): void;
  /** The queue was kicked, or may be written to for the first time; on a later turn of the loop. */
  kicked?(queue: FakeQueue): void;
  /** The backend was removed: what is outstanding is to be completed before the request returns. */
  detached?(queue: FakeQueue): void | Promise<void>;
}
