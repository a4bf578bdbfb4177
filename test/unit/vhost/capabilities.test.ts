import assert from 'node:assert/strict';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';

const MAX_MEM_REGIONS = '/sys/module/vhost/parameters/max_mem_regions';
const ZEROCOPY = '/sys/module/vhost_net/parameters/experimental_zcopytx';

describe('KernelVhost.capabilities', () => {
  it('tells what a kernel of 6.12 can do, and leaves nothing open', () => {
    const kernel = new FakeKernel();
    assert.deepEqual(KernelVhost.capabilities({ kernel }), {
      path: '/dev/vhost-net',
      features: 0x1033d008000n,
      featureNames: [
        'VIRTIO_NET_F_MRG_RXBUF',
        'VIRTIO_F_NOTIFY_ON_EMPTY',
        'VHOST_F_LOG_ALL',
        'VHOST_NET_F_VIRTIO_NET_HDR',
        'VIRTIO_RING_F_INDIRECT_DESC',
        'VIRTIO_RING_F_EVENT_IDX',
        'VIRTIO_F_VERSION_1',
        'VIRTIO_F_ACCESS_PLATFORM',
        'VIRTIO_F_RING_RESET',
      ],
      featuresArray: false,
      backendFeatures: 2n,
      backendFeatureNames: ['VHOST_BACKEND_F_IOTLB_MSG_V2'],
      forkFromOwner: undefined,
      busyPolling: true,
      workers: false,
      vringEndian: false,
      maxMemRegions: 64,
      zeroCopy: false,
    });
    kernel.assertNothingLeft();
  });

  it('tells what a kernel of 6.17 can do more', () => {
    const kernel = new FakeKernel({ extendedFeatures: [0xan], forkControl: true });
    const told = KernelVhost.capabilities({ kernel });
    assert.equal(told.features, 0x1033d008000n | (0xan << 64n));
    assert.deepEqual(told.featureNames.slice(-2), [
      'VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO',
      'VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO',
    ]);
    assert.equal(told.featuresArray, true);
    assert.equal(told.forkFromOwner, 1);
    kernel.assertNothingLeft();
  });

  it('tells what an old kernel cannot', () => {
    const kernel = new FakeKernel();
    kernel.failOn('vhost.getBackendFeatures', 'EPERM');
    kernel.failOn('vhost.getVringBusyloopTimeout', 'ENOTTY');
    const { backendFeatures, backendFeatureNames, busyPolling } = KernelVhost.capabilities({ kernel });
    assert.deepEqual([backendFeatures, backendFeatureNames, busyPolling], [0n, [], false]);
  });

  it('reads the parameters of the modules', () => {
    const kernel = new FakeKernel();
    kernel.files.set(MAX_MEM_REGIONS, '509\n');
    kernel.files.set(ZEROCOPY, '1\n');
    const { maxMemRegions, zeroCopy } = KernelVhost.capabilities({ kernel });
    assert.deepEqual([maxMemRegions, zeroCopy], [509, true]);
  });

  it('falls back on 64 regions where the parameter does not show, and knows of no zero-copy', () => {
    const kernel = new FakeKernel();
    kernel.files.set(ZEROCOPY, undefined);
    for (const text of [undefined, '', 'many\n', '0\n']) {
      kernel.files.set(MAX_MEM_REGIONS, text);
      const { maxMemRegions, zeroCopy } = KernelVhost.capabilities({ kernel });
      assert.deepEqual([maxMemRegions, zeroCopy], [64, undefined]);
    }
  });

  it('leaves nothing open whichever request is refused, and passes the refusal on', () => {
    const calls = ['getFeatures', 'getFeaturesArray', 'getBackendFeatures', 'getForkFromOwner', 'setOwner'];
    for (const call of [...calls, 'getVringBusyloopTimeout', 'getVringWorker', 'getVringEndian', 'open']) {
      const kernel = new FakeKernel();
      kernel.failOn(`vhost.${call}`, 'ENOMEM');
      assert.throws(() => KernelVhost.capabilities({ kernel }), { code: 'ENOMEM' }, call);
      kernel.assertNothingLeft();
    }
  });

  it('says why there is no device', () => {
    const kernel = new FakeKernel();
    assert.throws(() => KernelVhost.capabilities({ kernel, path: '/dev/none/vhost-net' }), {
      code: 'ENOENT',
      path: '/dev/none/vhost-net',
      hint: /modprobe vhost_net/,
    });
  });
});
