import assert from 'node:assert/strict';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { Iommu } from '../../../lib/vhost/iommu.js';
import type { Iotlb } from '../../../lib/vhost/iotlb.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { property, runs } from '../../support/random.js';

describe('Iommu', () => {
  const kernel = new FakeKernel();
  const memory = new GuestMemory(kernel);
  const low = memory.addRegion({ size: 16 * 4096, guestPhysicalAddress: 0x10_0000 });
  const high = memory.addRegion({ size: 16 * 4096, guestPhysicalAddress: 0x2_0000_0000 });
  after(() => memory.close());

  it('takes an address that it was told nothing of for a guest physical address, a granule at a time', () => {
    const iommu = new Iommu(memory);
    for (const region of [low, high]) {
      const start = BigInt(region.guestPhysicalAddress);
      assert.deepEqual(iommu.translate(start + 0x1010n), {
        iova: start + 0x1000n,
        size: 4096n,
        userAddress: region.userAddress + 0x1000n,
        access: 'rw',
      });
    }
    assert.equal(iommu.translate(0n), undefined);
    assert.equal(iommu.translate(2n ** 63n), undefined);
    assert.equal(iommu.translate(BigInt(low.guestPhysicalAddress + low.size)), undefined);
  });

  it('never tells beyond its region, whatever the granule', () => {
    const iommu = new Iommu(memory, { granule: 2 ** 30 });
    const { iova, size } = iommu.translate(BigInt(low.guestPhysicalAddress + 5))!;
    assert.deepEqual([iova, size], [BigInt(low.guestPhysicalAddress), BigInt(low.size)]);
  });

  it('translates only what was mapped where passthrough is off', async () => {
    const iommu = new Iommu(memory, { passthrough: false });
    assert.equal(iommu.translate(BigInt(low.guestPhysicalAddress)), undefined);
    await iommu.map(0, { guestPhysicalAddress: high.guestPhysicalAddress, size: 100, access: 'ro' });
    assert.deepEqual(iommu.translate(99n), {
      iova: 0n,
      size: 100n,
      userAddress: high.userAddress,
      access: 'ro',
    });
    assert.equal(iommu.translate(100n), undefined);
  });

  it('has every device forget what changes', async () => {
    const iommu = new Iommu(memory);
    const told: unknown[] = [];
    const device = {
      invalidate: async (iova: bigint, size: bigint) => void told.push([iova, size]),
    } as unknown as Iotlb;
    iommu.attach(device);
    await iommu.map(0x1000, { guestPhysicalAddress: 0, size: 8 });
    await iommu.unmap(0x2000, 16);
    iommu.detach(device);
    await iommu.unmap(0x3000, 16);
    assert.deepEqual(told, [
      [0x1000n, 8n],
      [0x2000n, 16n],
    ]);
  });

  property('is what a table of every address says, whatever is mapped and unmapped', async (random) => {
    const span = 64;
    const base = low.guestPhysicalAddress;
    for (let run = 0; run < runs(40); run++) {
      const passthrough = random.oneIn(2);
      const granule = 2 ** random.below(6);
      const iommu = new Iommu(memory, { passthrough, granule });
      const table = Array.from({ length: span }, (_, i) =>
        passthrough ? { at: base + i, access: 'rw' } : undefined,
      );
      for (let step = 0; step < 30; step++) {
        const start = random.below(span);
        const size = 1 + random.below(span - start);
        const target = random.oneIn(3) ? undefined : base + random.below(span);
        const access = random.pick(['ro', 'wo', 'rw'] as const);
        if (target === undefined) await iommu.unmap(base + start, size);
        else await iommu.map(base + start, { guestPhysicalAddress: target, size, access });
        for (let i = start; i < start + size; i++)
          table[i] = target === undefined ? undefined : { at: target + i - start, access };
        for (let i = 0; i < span; i++) {
          const found = iommu.translate(BigInt(base + i));
          const wanted = table[i];
          assert.equal(found?.access, wanted?.access);
          if (found === undefined || wanted === undefined) continue;
          // All that was told is so, and within one granule.
          const first = Number(found.iova) - base;
          assert.ok(first <= i && i < first + Number(found.size) && Number(found.size) <= granule);
          for (let k = 0; k < Number(found.size); k++) {
            const cell = first + k >= 0 && first + k < span ? table[first + k] : undefined;
            if (first + k < 0 || first + k >= span) continue;
            assert.equal(cell?.access, found.access);
            assert.equal(BigInt(cell!.at - base), found.userAddress + BigInt(k) - low.userAddress);
          }
        }
      }
    }
  });

  it('refuses ranges and options that make no sense', () => {
    assert.throws(() => new Iommu(memory, { granule: 3 }), { message: /^granule must be a power of two/ });
    assert.throws(() => new Iommu(memory, { granul: 4 } as never), { message: /did you mean "granule"/ });
    const iommu = new Iommu(memory);
    assert.throws(() => void iommu.map(0, { guestPhysicalAddress: 0, size: 1, access: 'x' as never }), {
      message: /^mapping\.access/,
    });
    return Promise.all([
      assert.rejects(iommu.unmap(-1, 1), { message: /^iova must be/ }),
      assert.rejects(iommu.unmap(0, 0), { message: /^size must be/ }),
      assert.rejects(iommu.map(0, { guestPhysicalAddress: 0, size: 2 ** 60 }), { message: /^size must be/ }),
    ]);
  });
});
