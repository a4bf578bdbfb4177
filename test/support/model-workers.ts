import type { FakeDevice, FakeQueue } from './fake-kernel.js';
import { ModelWorker } from './model-worker.js';

/** A worker for each vhost device that is opened, in the order in which their queues first start. */
export class ModelWorkers implements FakeDevice {
  readonly #workers = new Map<FakeQueue['device'], ModelWorker>();

  /** The worker of the device of each pair. */
  get all(): ModelWorker[] {
    return [...this.#workers.values()];
  }

  attached(queue: FakeQueue): void {
    const worker = this.#workers.get(queue.device) ?? new ModelWorker();
    this.#workers.set(queue.device, worker);
    worker.attached(queue);
  }

  kicked(queue: FakeQueue): void {
    this.#workers.get(queue.device)?.kicked(queue);
  }

  async detached(queue: FakeQueue): Promise<void> {
    await this.#workers.get(queue.device)?.detached(queue);
  }
}
