import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkInteger, checkOptions } from '../errors/check.js';
import type { Backend } from './backend.js';
import { type NominalOptions, nominalInterface, nominalOptionNames } from './nominal-interface.js';

/** "remote" is its name by default. */
export interface RemoteOptions extends NominalOptions {
  /** Queue pairs that the device has; 1 by default. */
  readonly queues?: number;
}

/**
 * What lies behind a device in another process. Nothing of it is reached from here, so all there is to say is what it
 * was agreed to be.
 */
export function remoteBackend(options: RemoteOptions = {}): Backend {
  const { queues = 1, ...nominal } = options;
  checkOptions('remote', nominal, nominalOptionNames);
  checkInteger('remote.queues', queues, 1, 128);
  return {
    kind: 'remote',
    // Names no descriptor: `VhostUserClient.setBackend` takes it for any backend.
    fd: 0,
    queues: Array.from({ length: queues }, () => 0),
    interface: nominalInterface('remote', nominal),
    headerSize: VIRTIO_NET_HDR_V1_SIZE,
    offloads: [],
    linkState: 'async',
    alive: () => true,
    // A pair that is stopped is told to the device, which takes its queue of whatever is behind it out.
    switchQueue: () => {},
    close: () => {},
    [Symbol.dispose]: () => {},
  };
}
