import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkOptions } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Backend } from './backend.js';
import { type NominalOptions, nominalInterface, nominalOptionNames } from './nominal-interface.js';

/** "remote" is its name by default. */
export interface RemoteOptions extends NominalOptions {}

/**
 * What lies behind a device in another process. Nothing of it is reached from here, so all there is to say is what it
 * was agreed to be.
 */
export function remoteBackend(options: RemoteOptions = {}): Backend {
  checkOptions('remote', options, nominalOptionNames);
  return {
    kind: 'remote',
    // Names no descriptor: `VhostUserClient.setBackend` takes it for any backend.
    fd: 0,
    queues: [0],
    interface: nominalInterface('remote', options),
    headerSize: VIRTIO_NET_HDR_V1_SIZE,
    offloads: [],
    linkState: 'async',
    alive: () => true,
    switchQueue: (_, on) => {
      if (on) return;
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        'the back-end of another process decides on its queues itself',
      );
    },
    close: () => {},
    [Symbol.dispose]: () => {},
  };
}
