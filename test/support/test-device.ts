import { KernelVhost, type NicOptions, WorkerVhost } from '../../lib/index.js';

/** Whether the tests of Nics run over this package's own device: VHOST_TEST_DEVICE=worker. */
export const overWorker = process.env.VHOST_TEST_DEVICE === 'worker';

/** The device that a Nic under test opens. */
export const testDevice: Pick<NicOptions, 'vhost'> = overWorker ? { vhost: 'worker' } : {};

/** A device without an owner. */
export function openVhost(): KernelVhost | WorkerVhost {
  return overWorker ? new WorkerVhost() : KernelVhost.open();
}

/** Defines tests of what only the kernel's device has or does; docs/worker.md tells why. */
export function onKernel(define: () => void): void {
  if (!overWorker) define();
}

/** Defines tests that once is enough for: what they show is the same over each device. */
export function once(define: () => void): void {
  if (overWorker) define();
}
