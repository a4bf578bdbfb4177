import assert from 'node:assert/strict';
import { bit } from '../../../lib/abi/bit.js';
import { featureNames } from '../../../lib/abi/feature-names.js';
import { VIRTIO_F_VERSION_1 } from '../../../lib/abi/virtio-config.js';
import { VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM } from '../../../lib/abi/virtio-net.js';

describe('abi: feature bits', () => {
  it('bit() is a mask of one bit, beyond 64 too', () => {
    assert.equal(bit(0), 1n);
    assert.equal(bit(VIRTIO_F_VERSION_1), 0x1_0000_0000n);
    assert.equal(bit(VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM), 1n << 68n);
  });

  it('featureNames() names what a vhost-net device offers, lowest bit first', () => {
    assert.deepEqual(featureNames(0x1033d008000n), [
      'VIRTIO_NET_F_MRG_RXBUF',
      'VIRTIO_F_NOTIFY_ON_EMPTY',
      'VHOST_F_LOG_ALL',
      'VHOST_NET_F_VIRTIO_NET_HDR',
      'VIRTIO_RING_F_INDIRECT_DESC',
      'VIRTIO_RING_F_EVENT_IDX',
      'VIRTIO_F_VERSION_1',
      'VIRTIO_F_ACCESS_PLATFORM',
      'VIRTIO_F_RING_RESET',
    ]);
  });

  it('featureNames() says the number of a bit that has no name, and nothing for no features', () => {
    assert.deepEqual(featureNames(bit(4) | bit(100)), ['bit 4', 'bit 100']);
    assert.deepEqual(featureNames(0n), []);
  });
});
