import { overWorker } from './test-device.js';

/** Where `WorkerVhost` does otherwise than the kernel, all of it; docs/worker.md has a row for each, and the reason. */
export const DIFFERENCES = {
  'heads of chains that break a rule': { kernel: 'lost', worker: 'kept' },
  'heads of frames to a tap that was deleted': { kernel: 'lost', worker: 'used' },
  'num_buffers where no buffers may be merged': { kernel: 'as it was', worker: '1' },
  'a buffer to send from that is shorter than the header': { kernel: 'nothing', worker: 'completed' },
  'a log that is told by its address alone': {
    kernel: 'accepted',
    worker: 'ERR_VHOST_UNSUPPORTED VHOST_SET_LOG_BASE',
  },
  VIRTIO_F_IN_ORDER: { kernel: 'lacking', worker: 'offered' },
  VIRTIO_F_ACCESS_PLATFORM: { kernel: 'offered', worker: 'lacking' },
} as const satisfies Record<string, { readonly kernel: string; readonly worker: string }>;

/** What the device under test does at a difference. */
export function differs(name: keyof typeof DIFFERENCES): string {
  return DIFFERENCES[name][overWorker ? 'worker' : 'kernel'];
}
