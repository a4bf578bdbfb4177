import assert from 'node:assert/strict';
import { FakeKernel } from '../../support/fake-kernel.js';
import { openNic } from '../../support/open-nic.js';

const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;

describe('Nic.setOffloads', () => {
  it('agrees with the tap and tells what was agreed', async () => {
    const { nic, kernel } = await openNic({ bufferSize: 16_384 });
    assert.deepEqual(nic.offloads, []);
    assert.deepEqual(await nic.setOffloads(['csum', 'tso4']), ['csum', 'tso4']);
    assert.deepEqual(nic.offloads, ['csum', 'tso4']);
    assert.equal(kernel.tun.state('tap0')!.offload, TUN_F_CSUM | TUN_F_TSO4);
    assert.ok((await nic.setOffloads(true)).includes('uso4'));
    assert.deepEqual(await nic.setOffloads(false), []);
    assert.equal(kernel.tun.state('tap0')!.offload, 0);
    await nic.close();
    await assert.rejects(nic.setOffloads(true), { code: 'ERR_VHOST_CLOSED' });
    kernel.assertNothingLeft();
  });

  it('leaves them as they were where the kernel refuses', async () => {
    const { nic, kernel } = await openNic({ bufferSize: 16_384 });
    await nic.setOffloads(['csum']);
    kernel.failOn('tun.setOffload', 'EIO');
    await assert.rejects(nic.setOffloads(['csum', 'tso4']), { code: 'EIO', request: 'TUNSETOFFLOAD' });
    assert.deepEqual(nic.offloads, ['csum']);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('refuses what would come in frames that the receive ring could never hold', async () => {
    const { nic, kernel } = await openNic();
    for (const wanted of [true, ['csum', 'tso4']] as const)
      await assert.rejects(nic.setOffloads(wanted), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: /^queueSize must/,
      });
    assert.equal(kernel.tun.state('tap0')!.offload, 0);
    await assert.rejects(nic.setOffloads('all' as never), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('refuses a backend that cannot change them', async () => {
    const kernel = new FakeKernel();
    kernel.interfaces.add('ether', 'eth7');
    const { nic } = await openNic({ tap: undefined, packet: 'eth7' } as never, kernel);
    await assert.rejects(nic.setOffloads(true), { code: 'ERR_VHOST_UNSUPPORTED' });
    await nic.close();
    kernel.assertNothingLeft();
  });
});
