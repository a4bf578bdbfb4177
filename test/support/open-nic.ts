import { Nic } from '../../lib/net/nic.js';
import type { NicOptions } from '../../lib/net/nic-open.js';
import { FakeKernel } from './fake-kernel.js';
import { ModelWorker } from './model-worker.js';

/** A Nic on a kernel in memory, with a device that works. */
export interface NicOnFake {
  readonly nic: Nic;
  readonly kernel: FakeKernel;
  readonly worker: ModelWorker;
  /** What the Nic told of as 'error'. */
  readonly errors: Error[];
}

/** Opens one; small, so that it is soon full. */
export async function openNic(
  options: Partial<NicOptions> = {},
  kernel: FakeKernel = new FakeKernel(),
): Promise<NicOnFake> {
  const worker = new ModelWorker();
  kernel.attachDevice(worker);
  const nic = await Nic.open({ tap: 'tap0', queueSize: 8, ...options, kernel });
  const errors: Error[] = [];
  nic.on('error', (error) => errors.push(error));
  return { nic, kernel, worker, errors };
}

/** One turn of the loop, and whatever it brings. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise is settled after some turns of the loop. */
export async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const note = (): void => {
    done = true;
  };
  promise.then(note, note);
  for (let i = 0; i < 10 && !done; i++) await turn();
  return done;
}
