import assert from 'node:assert/strict';
import type { VhostError } from '../../../lib/errors/errors.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';

describe('requests that this kernel lacks', () => {
  let kernel: FakeKernel;
  let vhost: KernelVhost;

  beforeEach(() => {
    kernel = new FakeKernel();
    vhost = KernelVhost.open({ kernel });
  });
  afterEach(() => {
    vhost.close();
    kernel.assertNothingLeft();
  });

  /** That it is refused with ERR_VHOST_UNSUPPORTED, and with what the kernel said. */
  function lacks(call: () => unknown, request: string, code: string, version: RegExp): void {
    assert.throws(call, (error: VhostError) => {
      assert.equal(error.code, 'ERR_VHOST_UNSUPPORTED');
      assert.equal(error.request, request);
      assert.match(error.message, version);
      const {
        code: cause,
        request: of,
        queue,
      } = error.cause as { code: string; request: string; queue?: number };
      assert.deepEqual([cause, of, queue], [code, request, error.queue]);
      return true;
    });
  }

  it('are told with the version that has them, whatever the kernel says of an owner', () => {
    for (const owned of [false, true]) {
      if (owned) vhost.setOwner();
      const one = owned ? 'ENOTTY' : 'EPERM';
      const two = owned ? 'ENOBUFS' : 'EPERM';
      lacks(() => vhost.getFeaturesArray(), 'VHOST_GET_FEATURES_ARRAY', two, /Linux 6\.17/);
      lacks(() => vhost.setFeaturesArray([0n]), 'VHOST_SET_FEATURES_ARRAY', one, /Linux 6\.17/);
      lacks(() => vhost.setFeaturesArray([0n, 0n]), 'VHOST_SET_FEATURES_ARRAY', two, /Linux 6\.17/);
      lacks(() => vhost.getForkFromOwner(), 'VHOST_GET_FORK_FROM_OWNER', one, /Linux 6\.17/);
      lacks(() => vhost.setForkFromOwner(1), 'VHOST_SET_FORK_FROM_OWNER', one, /Linux 6\.17/);
    }
    kernel.failOn('vhost.getBackendFeatures', 'ENOBUFS');
    lacks(() => vhost.getBackendFeatures(), 'VHOST_GET_BACKEND_FEATURES', 'ENOBUFS', /Linux 4\.19/);
    kernel.failOn('vhost.getVringBusyloopTimeout', 'ENOTTY');
    lacks(() => vhost.getVringBusyloopTimeout(1), 'VHOST_GET_VRING_BUSYLOOP_TIMEOUT', 'ENOTTY', /Linux 4\.6/);
    lacks(() => vhost.setVringEndian(0, 0), 'VHOST_SET_VRING_ENDIAN', 'ENOTTY', /Linux 4\.2 .*CROSS_ENDIAN/);
    lacks(() => vhost.getVringEndian(1), 'VHOST_GET_VRING_ENDIAN', 'ENOTTY', /Linux 4\.2/);
  });

  it('on workers are vhost-scsi’s, for an owner’s whatever queue or worker', () => {
    const requests: [() => unknown, string, string][] = [
      [() => vhost.newWorker(), 'VHOST_NEW_WORKER', 'ENOTTY'],
      [() => vhost.freeWorker(0), 'VHOST_FREE_WORKER', 'ENOTTY'],
      [() => vhost.freeWorker(7), 'VHOST_FREE_WORKER', 'ENOBUFS'],
      [() => vhost.attachVringWorker(1, 0), 'VHOST_ATTACH_VRING_WORKER', 'ENOTTY'],
      [() => vhost.getVringWorker(0), 'VHOST_GET_VRING_WORKER', 'ENOTTY'],
      [() => vhost.getVringWorker(2), 'VHOST_GET_VRING_WORKER', 'ENOBUFS'],
    ];
    for (const [call, request] of requests) assert.throws(call, { code: 'EPERM', request });
    vhost.setOwner();
    for (const [call, request, code] of requests) lacks(call, request, code, /Linux 6\.5 .*vhost-scsi/);
  });

  it('are not confused with other refusals', () => {
    assert.throws(() => vhost.setVringEndian(0, 0), { code: 'EPERM', request: 'VHOST_SET_VRING_ENDIAN' });
    vhost.setOwner();
    assert.throws(() => vhost.getVringEndian(2), { code: 'ENOBUFS', request: 'VHOST_GET_VRING_ENDIAN' });
    assert.throws(() => vhost.getVringBusyloopTimeout(2), { code: 'ENOBUFS', queue: 2 });
    assert.throws(() => vhost.setBackendFeatures(1n), { code: 'EOPNOTSUPP' });
    kernel.failOn('vhost.getFeaturesArray', 'EFAULT');
    assert.throws(() => vhost.getFeaturesArray(), { code: 'EFAULT' });
    kernel.failOn('vhost.setVringNum', 'ENOTTY');
    assert.throws(() => vhost.setVringNum(0, 8), { code: 'ENOTTY' });
  });
});
