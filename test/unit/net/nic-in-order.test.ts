import assert from 'node:assert/strict';
import { FakeKernel, offeredFeatures } from '../../support/fake-kernel.js';
import { openNic } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

const IN_ORDER = 1n << 35n;

describe('Nic: VIRTIO_F_IN_ORDER', () => {
  it('takes many frames and buffers for one used element', async () => {
    const kernel = new FakeKernel({ features: offeredFeatures | IN_ORDER });
    const { nic, worker, errors } = await openNic({ inOrder: true, bufferSize: 16_384 }, kernel);
    assert.notEqual(nic.features & IN_ORDER, 0n);
    for (let round = 0; round < 5; round++) {
      const submission = nic.submit(Array.from({ length: 20 }, (_, i) => numberedFrame(i, 60)));
      assert.deepEqual(await submission.completed, { completed: 20, abandoned: 0, withdrawn: 0 });
    }
    assert.equal(worker.sent.length, 100);
    // A frame of three buffers between two of one.
    const lengths = [60, 40_000, 61, 62, 63];
    worker.receive(...lengths.map((length, i) => numberedFrame(i, length)));
    const found: Uint8Array[] = [];
    for await (const batch of nic.receive()) {
      for (const frame of batch) found.push(Uint8Array.from(frame));
      if (found.length === lengths.length) break;
    }
    for (const [i, length] of lengths.entries()) assert.deepEqual(found[i], numberedFrame(i, length));
    await nic.swapBackend({ tap: 'tap1' });
    await nic.submit([numberedFrame(0, 60)]).completed;
    assert.deepEqual(errors, []);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('is not agreed on unless asked for, and refused where the device lacks it', async () => {
    const kernel = new FakeKernel({ features: offeredFeatures | IN_ORDER });
    const { nic } = await openNic({}, kernel);
    assert.equal(nic.features & IN_ORDER, 0n);
    await nic.close();
    const before = new FakeKernel();
    await assert.rejects(openNic({ inOrder: true }, before), {
      code: 'ERR_VHOST_UNSUPPORTED',
      message: 'the device does not offer VIRTIO_F_IN_ORDER; it offers 0x1033d008000',
    });
    before.assertNothingLeft();
    await assert.rejects(openNic({ inOrder: 1 as never }), { message: /^inOrder must be true or false/ });
  });
});
