import assert from 'node:assert/strict';
import { Iommu } from '../../../lib/vhost/iommu.js';
import type { Translator } from '../../../lib/vhost/iotlb.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { openNic, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

const ACCESS_PLATFORM = 1n << 33n;
const frames = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => numberedFrame(i, 60));

describe('Nic: addresses that are translated', () => {
  it('reach the device as it asks for them, and again once they were taken back', async () => {
    const { nic, kernel, worker, errors } = await openNic({ iommu: true });
    assert.notEqual(nic.features & ACCESS_PLATFORM, 0n);
    assert.deepEqual(await nic.submit(frames(8)).completed, { completed: 8, abandoned: 0, withdrawn: 0 });
    worker.receive(numberedFrame(9, 60));
    for await (const batch of nic.receive()) {
      assert.deepEqual(batch.frame(0).slice(), numberedFrame(9, 60));
      break;
    }
    const { misses } = nic.iotlb!;
    assert.ok(misses > 0);
    await nic.iotlb!.invalidate(0n, 2n ** 63n);
    await nic.submit(frames(8)).completed;
    assert.ok(nic.iotlb!.misses > misses);
    assert.deepEqual(
      worker.sent.slice(8).map(({ frame }) => frame.length),
      new Array(8).fill(60),
    );
    assert.deepEqual(errors, []);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('stop both queues where there are none; attach() starts them again', async () => {
    let iommu: Iommu | undefined;
    const { nic, kernel, worker, errors } = await openNic({
      iommu: (memory) => {
        iommu = new Iommu(memory);
        return iommu;
      },
    });
    assert.equal(nic.iotlb!.translator, iommu);
    const { region, base, count, bufferSize } = nic.pool;
    const start = region.guestPhysicalAddress + base;
    await iommu!.unmap(start, count * bufferSize);
    const lost = nic.submit(frames(3));
    await lost.completed;
    for (let i = 0; i < 5 && errors.length === 0; i++) await turn();
    assert.equal((errors[0] as NodeJS.ErrnoException).code, 'ERR_VHOST_IOTLB_FAULT');
    assert.deepEqual(lost.result, { completed: 0, abandoned: 3, withdrawn: 0 });
    assert.throws(() => nic.trySend(new Uint8Array(60)), { code: 'ERR_VHOST_IOTLB_FAULT' });
    assert.deepEqual(nic.stats().transmit.errors, { ERR_VHOST_IOTLB_FAULT: 1 });
    await iommu!.map(start, { guestPhysicalAddress: start, size: count * bufferSize });
    await nic.attach();
    await nic.submit(frames(3)).completed;
    assert.equal(worker.sent.length, 3);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('wake a queue whose miss is forgotten when the other is stopped', async () => {
    const { nic, kernel, worker } = await openNic({ iommu: true });
    // The miss of the transmit queue is on its way when the receive queue stops on an error.
    await nic.iotlb!.invalidate(0n, 2n ** 63n);
    const submission = nic.submit(frames(3));
    worker.queue(0).error();
    nic.on('error', () => {});
    assert.deepEqual(await submission.completed, { completed: 3, abandoned: 0, withdrawn: 0 });
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('are told to the device of each pair, and taken back from all', async () => {
    const { nic, kernel } = await openNic({ iommu: true, queuePairs: 2, tap: { multiQueue: true } });
    const devices = kernel
      .openDescriptors()
      .filter(({ kind }) => kind === 'vhost')
      .map(({ fd }) => kernel.queue(fd, 0).device.iotlb!);
    assert.equal(devices.length, 2);
    for (const { entries } of devices) assert.ok(entries.length > 0);
    const [first, second] = nic.pairs.map(({ iotlb }) => iotlb!);
    assert.notEqual(first, second);
    assert.equal(first!.translator, second!.translator);
    const { guestPhysicalAddress, size } = nic.pool.region;
    await (first!.translator as Iommu).unmap(guestPhysicalAddress, size);
    for (const { entries } of devices) assert.deepEqual(entries, []);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('end with their region', async () => {
    const { nic, kernel } = await openNic({ iommu: true });
    const region = await nic.memory.hotAdd({ size: 4096 });
    await nic.iotlb!.map(BigInt(region.guestPhysicalAddress), 4096n, 'rw');
    const { iotlb } = kernel.queue(
      kernel.openDescriptors().find(({ kind }) => kind === 'vhost')!.fd,
      0,
    ).device;
    const { userAddress } = region;
    const mapped = (): boolean => iotlb!.entries.some((entry) => entry.userAddress === userAddress);
    assert.ok(mapped());
    await nic.memory.hotRemove(region);
    assert.ok(!mapped());
    assert.deepEqual((await nic.submit(frames(3)).completed).completed, 3);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('refuse to start a queue whose ring is not mapped, and leave nothing open', async () => {
    const kernel = new FakeKernel();
    const nowhere: Translator = { translate: () => undefined };
    await assert.rejects(openNic({ iommu: () => nowhere }, kernel), { code: 'ERR_VHOST_IOTLB_FAULT' });
    kernel.assertNothingLeft();
  });

  it('need a device that offers them', async () => {
    const kernel = new FakeKernel({ features: 0x1033d008000n & ~ACCESS_PLATFORM });
    await assert.rejects(openNic({ iommu: true }, kernel), { code: 'ERR_VHOST_UNSUPPORTED' });
    kernel.assertNothingLeft();
    await assert.rejects(openNic({ iommu: 'yes' as never }, kernel), {
      message: /^iommu must be true, false or a function/,
    });
  });
});
