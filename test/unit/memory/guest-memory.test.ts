import assert from 'node:assert/strict';
import { FramePool, handFrame, takeBuffer } from '../../../lib/memory/frame-pool.js';
import { type Allocation, GuestMemory } from '../../../lib/memory/guest-memory.js';
import type { Region } from '../../../lib/memory/region.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { property, runs } from '../../support/random.js';
import { turn } from '../../support/until.js';

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
      hint: '2 huge pages must be free: echo a number that suffices > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages',
    });
    kernel.failOn('memory.create', 'ENODEV');
    assert.throws(() => memory.addRegion({ size: 1, hugePageSize: 2 ** 24 }), {
      code: 'ENODEV',
      hint: /^this machine may have no huge pages of 16777216 bytes/,
    });
    kernel.failOn('memory.create', 'ENODEV');
    assert.throws(
      () => memory.addRegion({ size: 1 }),
      (error) => !('hint' in (error as object)),
    );
    assert.deepEqual(kernel.calls.filter(({ name }) => name === 'memory.create')[0]!.args, [
      'vhost-net',
      4 * MiB,
      hugePageSize,
    ]);
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
    const { region, offset } = memory.allocate(4096);
    assert.deepEqual([region, offset], [small, 0], 'to the last byte');
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
    const [one, other] = [holder(), holder()];
    memory.hold(one);
    memory.hold(other);
    memory.drop(one);
    assert.throws(() => memory.close(), {
      name: 'VhostError [ERR_VHOST_IN_USE]',
      message: 'guest memory is in use by 1 device(s); close them first',
    });
    assert.equal(region.bytes.length, 4096, 'it is still there');
    memory.drop(other);
    memory.close();
    assert.equal(region.bytes.length, 0, 'a view of unmapped memory is detached, never dangling');
    assert.deepEqual(memory.regions, []);
    memory.close();
  });

  it('unmaps no region that a device was told of, before it is told of the rest', () => {
    const [region, other] = [memory.addRegion({ size: 4096 }), memory.addRegion({ size: 4096 })];
    const [one, two] = [holder(), holder()];
    for (const each of [one, two]) memory.hold(each);
    const refused = (devices: number) =>
      assert.throws(() => region.unmap(), {
        name: 'VhostError [ERR_VHOST_IN_USE]',
        message: `the region at 0x100000 is in use by ${devices} device(s)`,
      });
    refused(2);
    memory.removeRegion(region);
    refused(2);
    one.setMemTable(memory);
    refused(1);
    memory.drop(two);
    region.unmap();
    assert.equal(region.bytes.length, 0);
    assert.throws(() => other.unmap(), { code: 'ERR_VHOST_IN_USE' });
    memory.drop(one);
    other.unmap();
  });

  it('takes no region out in which something lies', () => {
    const region = memory.addRegion({ size: 4096 });
    const share = memory.allocate(64, 64, { use: () => 'a ring' });
    assert.throws(() => memory.removeRegion(region), {
      name: 'VhostError [ERR_VHOST_IN_USE]',
      message: 'the region at 0x100000 is in use by a ring',
    });
    share.free();
    memory.removeRegion(region);
    region.unmap();
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

  describe('regions that come and go while devices run', () => {
    it('are in the table of every device, and out of it before they are unmapped', async () => {
      const [one, other] = [holder(), holder()];
      memory.hold(one);
      memory.hold(other);
      memory.addRegion({ size: 4096 });
      const region = await memory.hotAdd({ size: 4096 });
      assert.deepEqual([one.tables, other.tables], [[2], [2]]);
      memory.drop(other);
      const seen: boolean[] = [];
      const end = memory.observe(async () => {
        await turn();
        seen.push(region.mapped);
      });
      await memory.hotRemove(region);
      assert.deepEqual([one.tables, other.tables, seen], [[2, 1], [2], [true]]);
      assert.equal(region.bytes.length, 0, 'its views are detached');
      end();
      await memory.hotRemove(region);
      assert.equal(seen.length, 1);
      memory.drop(one);
    });

    it('are not there where a device refuses, and those who took them are told', async () => {
      const [one, other] = [holder(), holder()];
      memory.hold(one);
      memory.hold(other);
      other.refusal = new Error('full');
      await assert.rejects(memory.hotAdd({ size: 4096 }), other.refusal);
      assert.deepEqual([memory.regions.length, one.tables], [0, [1, 0]]);
      // It may be that the first keeps it all the same: it stays mapped until the devices are gone.
      assert.equal(kernel.openMappings().length, 1);
      assert.throws(() => memory.allocate(1), { message: /^size must be/ });
      other.refusal = undefined;
      const region = await memory.hotAdd({ size: 4096 });
      other.refusal = new Error('no');
      await assert.rejects(memory.hotRemove(region), other.refusal);
      assert.deepEqual(memory.regions, [region]);
      assert.equal(region.bytes.length, 4096);
      assert.equal(memory.allocate(1).region, region);
      memory.drop(one);
      memory.drop(other);
    });

    it('stay while something lies in them', async () => {
      const region = await memory.hotAdd({ size: 1 << 16 });
      const ring = memory.allocate(100, 64, { use: () => 'the ring of queue 1' });
      const pool = new FramePool(memory, 2048, 4, region);
      const inUse = (message: RegExp | string) =>
        assert.rejects(memory.hotRemove(region), { code: 'ERR_VHOST_IN_USE', message });
      await inUse('the region at 0x100000 is in use by the ring of queue 1 and by 1 other(s)');
      ring.free();
      const [leased, posted] = [pool.lease(), pool.lease()];
      handFrame(pool, posted);
      await inUse(/in use by a pool of 4 buffers, 1 of them leased and 1 posted to a device$/);
      assert.throws(() => pool.close(), { code: 'ERR_VHOST_IN_USE', message: /^a pool of 4 buffers, 1 / });
      takeBuffer(pool, posted);
      pool.release(posted);
      pool.release(leased);
      await inUse(/0 of them leased and 0 posted/);
      pool.close();
      pool.close();
      assert.equal(pool.free, 0);
      assert.throws(() => pool.lease(), { code: 'ERR_VHOST_CLOSED' });
      assert.throws(() => pool.release(leased), { message: /it is of a closed pool$/ });
      assert.equal(memory.allocate(1 << 16).offset, 0, 'what was given back can be had again');
    });

    it('are refused while a dirty log counts on the size, and of another memory', async () => {
      const release = memory.keepSize();
      await assert.rejects(memory.hotAdd({ size: 4096 }), { code: 'ERR_VHOST_IN_USE', message: /dirty log/ });
      release();
      release();
      await memory.hotAdd({ size: 4096 });
      const other = new GuestMemory(kernel);
      await assert.rejects(memory.hotRemove(other.addRegion({ size: 4096 })), {
        message: /^region must be one of this memory/,
      });
      other.close();
    });

    property('leave every device with the regions that there are, whatever was refused', async (random) => {
      const holders = Array.from({ length: 3 }, holder);
      for (const one of holders) memory.hold(one);
      const shares = new Map<Region, Allocation[]>();
      for (let step = 0; step < runs(300); step++) {
        for (const one of holders) one.refusal = random.oneIn(10) ? new Error('refused') : undefined;
        const region = memory.regions.length > 0 ? random.pick(memory.regions) : undefined;
        try {
          if (region === undefined || random.oneIn(3)) {
            const guestPhysicalAddress = 4096 * random.below(64);
            shares.set(await memory.hotAdd({ size: 4096, guestPhysicalAddress }), []);
          } else if (random.below(3) === 0) {
            shares.get(region)!.push(memory.allocate(64, 64, { region }));
          } else {
            for (const share of shares.get(region)!.splice(0)) share.free();
            await memory.hotRemove(region);
          }
        } catch (error) {
          const { code, message } = error as NodeJS.ErrnoException;
          assert.ok(
            message === 'refused' || code === 'ERR_VHOST_IN_USE' || code === 'ERR_VHOST_OUT_OF_RANGE',
            String(error),
          );
        }
        for (const one of holders) one.refusal = undefined;
        for (const { mapped } of memory.regions) assert.ok(mapped);
        const { regions } = memory;
        for (const a of regions)
          for (const b of regions)
            assert.ok(a === b || a.guestPhysicalAddress !== b.guestPhysicalAddress, 'no two overlap');
      }
      await memory.hotAdd({ size: 4096, guestPhysicalAddress: 2 ** 32 });
      for (const { tables } of holders) assert.equal(tables.at(-1), memory.regions.length);
      for (const one of holders) memory.drop(one);
    });
  });
});

/** A device that notes how many regions it was told of. */
function holder(): { refusal: Error | undefined; tables: number[]; setMemTable(memory: GuestMemory): void } {
  return {
    refusal: undefined,
    tables: [],
    setMemTable(memory) {
      if (this.refusal !== undefined) throw this.refusal;
      this.tables.push(memory.table().length);
      memory.hold(this);
    },
  };
}
