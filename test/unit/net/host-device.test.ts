import assert from 'node:assert/strict';
import type { Backend } from '../../../lib/backend/backend.js';
import { programBackend } from '../../../lib/backend/program.js';
import { remoteBackend } from '../../../lib/backend/remote.js';
import { openTap } from '../../../lib/backend/tap.js';
import { HostDevice } from '../../../lib/net/host-device.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';

describe('host device', () => {
  let kernel: FakeKernel;
  let device: HostDevice;
  let vhost: KernelVhost;
  let tap: Backend;
  beforeEach(() => {
    kernel = new FakeKernel();
    tap = openTap({ name: 'tap0' }, kernel);
    vhost = KernelVhost.open({ kernel });
    device = new HostDevice(kernel, [vhost], tap);
  });
  afterEach(() => {
    vhost.close();
    tap.close();
    kernel.assertNothingLeft();
  });

  it('is lent to one front-end at a time, and is as new for the next', async () => {
    const first = device.lend();
    assert.throws(() => device.lend(), { code: 'ERR_VHOST_IN_USE' });
    const [{ vhost }] = first.pairs as [(typeof first.pairs)[number]];
    await vhost.setOwner();
    await first.close();
    assert.equal(kernel.callNames.at(-1), 'vhost.resetOwner');
    // This one never came as far as to own it.
    await device.lend().close();
    await device.lend().pairs[0]!.vhost.setOwner();
  });

  it('makes of the tap what was agreed', async () => {
    const { agree, backendFeatures } = device.lend();
    assert.equal(backendFeatures! & 0b11n, 0b11n);
    await agree!(1n << 32n);
    assert.equal(kernel.tun.getVnetHdrSz(tap.fd), 12);
    assert.deepEqual(kernel.calls.findLast(({ name }) => name === 'tun.setOffload')!.args, [tap.fd, 0]);
    await agree!(0b10n | (1n << 7n));
    assert.equal(kernel.tun.getVnetHdrSz(tap.fd), 10);
    assert.deepEqual(kernel.calls.findLast(({ name }) => name === 'tun.setOffload')!.args, [tap.fd, 0b11]);
  });

  it('lets a guest tell the network where it is', () => {
    assert.notEqual(device.lend().backendFeatures! & (1n << 21n), 0n);
  });

  it('takes no larger MTU than the interface has', () => {
    const { setMtu } = device.lend();
    setMtu!(1500);
    setMtu!(68);
    assert.throws(() => setMtu!(1501), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /at most 1500, that of tap0/,
    });
  });

  it('leaves nothing to agree on to a program', () => {
    const program = programBackend({ transmit: () => {} });
    const { agree, backendFeatures } = new HostDevice(kernel, [vhost], program).lend();
    assert.deepEqual([agree, backendFeatures], [undefined, 1n << 21n]);
    program.close();
  });

  it('takes no other backend', () => {
    assert.throws(() => new HostDevice(kernel, [vhost], remoteBackend()), { code: 'ERR_VHOST_OUT_OF_RANGE' });
  });
});
