import assert from 'node:assert/strict';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { FakeKernel } from '../../support/fake-kernel.js';

const MiB = 0x10_0000;

describe('GuestMemory', () => {
  let kernel: FakeKernel;
  let memory: GuestMemory;

  beforeEach(() => {
    kernel = new FakeKernel();
    memory = new GuestMemory(kernel);
  });
  afterEach(() => {
    memory.close();
    kernel.assertNothingLeft();
  });

  it('maps regions of whole pages one after the other, the first at 1 MiB', () => {
    const first = memory.addRegion({ size: 1 });
    const second = memory.addRegion({ size: 4097 });
    assert.deepEqual([first.guestPhysicalAddress, first.size], [MiB, 4096]);
    assert.deepEqual([second.guestPhysicalAddress, second.size], [MiB + 4096, 8192]);
    assert.equal(memory.end, MiB + 3 * 4096);
    assert.deepEqual(
      memory.table(),
      [first, second].map((region) => ({
        guestPhysicalAddress: BigInt(region.guestPhysicalAddress),
        size: BigInt(region.size),
        userAddress: region.userAddress,
      })),
    );
  });

  it('puts a region where it is told, and the next after the highest', () => {
    memory.addRegion({ size: 4096, guestPhysicalAddress: 2 ** 32 });
    const next = memory.addRegion({ size: 4096 });
    assert.equal(next.guestPhysicalAddress, 2 ** 32 + 4096);
    const low = memory.addRegion({ size: 4096, guestPhysicalAddress: 0 });
    assert.equal(low.guestPhysicalAddress, 0);
  });

  it('refuses regions that overlap, which the kernel would accept', () => {
    memory.addRegion({ size: 3 * 4096, guestPhysicalAddress: 8 * 4096 });
    for (const [page, pages] of [
      [8, 1],
      [9, 1],
      [10, 4],
      [6, 3],
      [4, 20],
    ] as const)
      assert.throws(() => memory.addRegion({ size: pages * 4096, guestPhysicalAddress: page * 4096 }), {
        name: 'RangeError [ERR_VHOST_OUT_OF_RANGE]',
        message: /^guestPhysicalAddress must be outside the region at 0x8000 of 12288 bytes/,
      });
    assert.equal(memory.regions.length, 1);
    assert.equal(kernel.openMappings().length, 1, 'nothing was mapped for those');
    memory.addRegion({ size: 4096, guestPhysicalAddress: 7 * 4096 });
    memory.addRegion({ size: 4096, guestPhysicalAddress: 11 * 4096 });
  });

  it('takes addresses of pages only', () => {
    for (const guestPhysicalAddress of [1, 4095, -4096, 2 ** 53, 0.5])
      assert.throws(() => memory.addRegion({ size: 4096, guestPhysicalAddress }), {
        message: /^guestPhysicalAddress must be a multiple of the page size 4096/,
      });
    for (const size of [0, -1, 1.5, Number.NaN])
      assert.throws(() => memory.addRegion({ size }), { message: /^size must be a whole number from 1/ });
  });

  it('rounds to huge pages where they are asked for', () => {
    const hugePageSize = 2 * MiB;
    // This kernel has set none aside; what it was asked for shows all the same.
    assert.throws(() => memory.addRegion({ size: 3 * MiB, hugePageSize }), {
      code: 'ENOMEM',
      syscall: 'memfd_create',
    });
    assert.deepEqual(kernel.calls.at(-1)!.args, ['vhost-net', 4 * MiB, hugePageSize]);
    assert.throws(() => memory.addRegion({ size: 1, hugePageSize, guestPhysicalAddress: MiB }), {
      message: /^guestPhysicalAddress must be a multiple of the page size 2097152/,
    });
    assert.equal(memory.regions.length, 0);
  });

  it('allocates aligned stretches that never meet', () => {
    const region = memory.addRegion({ size: 4096 });
    const taken: [number, number][] = [];
    for (const [size, alignment] of [
      [10, undefined],
      [1, 16],
      [100, 64],
      [1, 1],
      [1000, 1024],
    ] as const) {
      const allocation = memory.allocate(size, alignment);
      assert.equal(allocation.region, region);
      assert.equal(allocation.offset % (alignment ?? 64), 0);
      for (const [start, end] of taken)
        assert.ok(allocation.offset >= end || allocation.offset + size <= start);
      taken.push([allocation.offset, allocation.offset + size]);
    }
  });

  it('allocates from the first region with room, and says where there is none', () => {
    const small = memory.addRegion({ size: 4096 });
    const large = memory.addRegion({ size: 2 * 4096 });
    assert.equal(memory.allocate(4097).region, large);
    assert.deepEqual(memory.allocate(4096), { region: small, offset: 0 }, 'to the last byte');
    assert.throws(() => memory.allocate(4096), {
      message: 'size must be no more than a region has left; add a larger region; received 4096',
    });
  });

  it('finds the region of an address, to its last byte', () => {
    const first = memory.addRegion({ size: 4096 });
    const second = memory.addRegion({ size: 4096 });
    assert.equal(memory.find(MiB), first);
    assert.equal(memory.find(MiB, 4096), first);
    assert.equal(memory.find(MiB + 4095), first);
    assert.equal(memory.find(MiB + 4096), second);
    assert.equal(memory.find(MiB + 4095, 2), undefined, 'in two regions is in none');
    assert.equal(memory.find(MiB - 1), undefined);
    assert.equal(memory.find(MiB + 8192), undefined);
  });

  it('is not unmapped while a device holds it', () => {
    const region = memory.addRegion({ size: 4096 });
    memory.hold();
    memory.hold();
    memory.drop();
    assert.throws(() => memory.close(), {
      name: 'VhostError [ERR_VHOST_IN_USE]',
      message: 'guest memory is in use by 1 device(s); close them first',
    });
    assert.equal(region.bytes.length, 4096, 'it is still there');
    memory.drop();
    memory.close();
    assert.equal(region.bytes.length, 0, 'a view of unmapped memory is detached, never dangling');
    assert.deepEqual(memory.regions, []);
    memory.close();
  });

  it('unmaps a region once, whoever asks', () => {
    const region = memory.addRegion({ size: 4096 });
    region.unmap();
    region.unmap();
  });

  it('unmaps every region even where the kernel refuses one', () => {
    memory.addRegion({ size: 4096 });
    memory.addRegion({ size: 4096 });
    memory.addRegion({ size: 4096 });
    kernel.failOn('memory.unmap', 'EINVAL', { skip: 1 });
    assert.throws(() => memory.close(), { code: 'EINVAL', syscall: 'munmap' });
    assert.deepEqual(kernel.openMappings(), []);
    assert.deepEqual(memory.regions, []);
  });
});
