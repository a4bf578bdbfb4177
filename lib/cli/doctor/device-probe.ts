import type { Machine } from './machine.js';

export const DEVICE = '/dev/vhost-net';

/** What an open device answers; requests as the code of their refusal, '' where they are offered. */
export interface DeviceProbe {
  readonly features: bigint;
  readonly workers: string;
  readonly busyPoll: string;
}

/** One probe for each machine: the device is opened once. */
const probes = new WeakMap<Machine, DeviceProbe | string>();

/** Asks the device what it offers; a string says why it cannot be asked. */
export function probeDevice(machine: Machine): DeviceProbe | string {
  const known = probes.get(machine);
  if (known !== undefined) return known;
  const found = probe(machine);
  probes.set(machine, found);
  return found;
}

function probe(machine: Machine): DeviceProbe | string {
  if (machine.device(DEVICE) === undefined) return 'not known without the device node';
  let fd = -1;
  try {
    const { vhost, descriptor } = machine.loadKernel();
    try {
      fd = vhost.open(DEVICE);
      const features = vhost.getFeatures(fd);
      // An owner is what the other requests ask for first; the device forgets it when it is closed.
      vhost.setOwner(fd);
      return {
        features,
        workers: refusal(() => vhost.getVringWorker(fd, 0)),
        busyPoll: refusal(() => vhost.getVringBusyloopTimeout(fd, 0)),
      };
    } finally {
      if (fd !== -1) descriptor.close(fd);
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ERR_VHOST_ADDON' ? 'not known without the native addon' : `not known: ${message}`;
  }
}

/** A request that the kernel does not know is refused with ENOTTY; any other answer means that it does. */
function refusal(request: () => unknown): string {
  try {
    request();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTTY') return code;
  }
  return '';
}
