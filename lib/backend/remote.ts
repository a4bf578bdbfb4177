import { VIRTIO_NET_HDR_V1_SIZE } from '../abi/virtio-net.js';
import { checkInteger, checkOptions } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Backend } from './backend.js';
import { formatMac, parseMac } from './network-interface.js';

export interface RemoteOptions {
  /** What it is called in messages; "remote" by default. */
  readonly name?: string;
  /** The longest frame without its Ethernet header; 1,500 bytes by default. */
  readonly mtu?: number;
  /** The station's address; none by default. */
  readonly mac?: string;
}

/**
 * What lies behind a device in another process. Nothing of it is reached from here, so all there is to say is what it
 * was agreed to be.
 */
export function remoteBackend(options: RemoteOptions = {}): Backend {
  checkOptions('remote', options, ['name', 'mtu', 'mac']);
  const { name = 'remote', mtu = 1500, mac = '00:00:00:00:00:00' } = options;
  checkInteger('remote.mtu', mtu, 68, 65_535);
  const address = formatMac(parseMac('remote.mac', mac));
  return {
    kind: 'remote',
    // Names no descriptor: `VhostUserClient.setBackend` takes it for any backend.
    fd: 0,
    queues: [0],
    interface: { name, mtu, mac: address, up: true, watch: () => ({ close: () => {} }), close: () => {} },
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
  };
}
