import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkOptions } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend } from './backend.js';
import { type NominalOptions, nominalInterface, nominalOptionNames } from './nominal-interface.js';

/** "cable" is its name by default. */
export interface CableOptions extends NominalOptions {}

/**
 * A cable between two devices of `WorkerVhost`, in one process or in two: what one sends the other receives, virtio-net
 * header and all (socketpair(2) of SOCK_SEQPACKET). The kernel's device takes neither end.
 */
export function openCable(
  options: CableOptions = {},
  kernel: Kernel = hostKernel(),
): readonly [Backend, Backend] {
  checkOptions('options', options, nominalOptionNames);
  const device = nominalInterface('cable', options);
  const end = (fd: number): Backend => {
    let open = true;
    const close = (): void => {
      if (!open) return;
      open = false;
      kernel.descriptor.close(fd);
    };
    return {
      kind: 'cable',
      fd,
      queues: [fd],
      interface: device,
      headerSize: VIRTIO_NET_HDR_V1_SIZE,
      offloads: [],
      linkState: 'sync',
      alive: () => open,
      switchQueue: (_, on) => {
        if (!on) throw new VhostError('ERR_VHOST_UNSUPPORTED', 'a cable has one queue at each end');
      },
      close,
      [Symbol.dispose]: close,
    };
  };
  const [one, other] = kernel.frames.pair();
  return [end(one), end(other)];
}
