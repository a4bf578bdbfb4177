import assert from 'node:assert/strict';
import { bit } from '../../../lib/abi/bit.js';
import { VIRTIO_F_ACCESS_PLATFORM } from '../../../lib/abi/virtio-config.js';
import { VIRTIO_RING_F_EVENT_IDX } from '../../../lib/abi/virtio-ring.js';
import { VhostRangeError } from '../../../lib/errors/errors.js';
import type { MemoryTableEntry, VringAddresses } from '../../../lib/kernel/kernel.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';

const RX = 0;
const TX = 1;
const ADDR = 'VHOST_SET_VRING_ADDR';
const TABLE = 'VHOST_SET_MEM_TABLE';

describe('what the kernel does not check and KernelVhost does', () => {
  let kernel: FakeKernel;
  let memory: GuestMemory;
  let vhost: KernelVhost;
  let start: bigint;
  let end: bigint;

  beforeEach(() => {
    kernel = new FakeKernel();
    memory = new GuestMemory(kernel);
    const region = memory.addRegion({ size: 1 << 16 });
    start = region.userAddress;
    end = start + (1n << 16n);
    vhost = KernelVhost.open({ kernel });
    vhost.setOwner();
  });
  afterEach(() => {
    vhost.close();
    memory.close();
    kernel.assertNothingLeft();
  });

  function ring(change: Partial<VringAddresses> = {}): VringAddresses {
    return {
      flags: 0,
      descriptorTable: start,
      availableRing: start + 4096n,
      usedRing: start + 8192n,
      log: 0n,
      ...change,
    };
  }

  /** That it is refused by this rule, for this request and queue, and that the kernel was not asked. */
  function breaks(call: () => unknown, rule: RegExp, request: string, queue?: number): void {
    const asked = (): number => kernel.callNames.filter((name) => name.startsWith('vhost.')).length;
    const before = asked();
    assert.throws(call, (error: VhostRangeError) => {
      assert.match(error.message, rule);
      assert.deepEqual([error.code, error.request, error.queue], ['ERR_VHOST_OUT_OF_RANGE', request, queue]);
      return error instanceof VhostRangeError;
    });
    assert.equal(asked(), before);
  }

  it('the alignment of the descriptor table (VIRTIO 1.3 §2.7 Split Virtqueues)', () => {
    for (const off of [1n, 2n, 4n, 8n, 15n])
      breaks(
        () => vhost.setVringAddr(TX, ring({ descriptorTable: start + off })),
        /^addresses\.descriptorTable must be a multiple of 16; received '0x/,
        ADDR,
        TX,
      );
    vhost.setVringAddr(TX, ring({ descriptorTable: start + 16n }));
  });

  it('leaves the alignment of the other parts to the kernel', () => {
    const refused = { code: 'EINVAL', request: 'VHOST_SET_VRING_ADDR', queue: TX };
    assert.throws(() => vhost.setVringAddr(TX, ring({ availableRing: start + 1n })), refused);
    assert.throws(() => vhost.setVringAddr(TX, ring({ usedRing: start + 2n })), refused);
  });

  it('a part of the ring outside the memory, by a byte', () => {
    vhost.setMemTable(memory);
    vhost.setVringNum(TX, 64);
    const sizes = { descriptorTable: 1024n, availableRing: 132n, usedRing: 516n };
    for (const [part, bytes] of Object.entries(sizes)) {
      const rule = new RegExp(`^addresses\\.${part} must be inside one region .*: ${bytes} bytes at 0x`);
      breaks(() => vhost.setVringAddr(TX, ring({ [part]: start - 16n })), rule, ADDR, TX);
      breaks(() => vhost.setVringAddr(TX, ring({ [part]: ((end - bytes) & ~15n) + 16n })), rule, ADDR, TX);
      vhost.setVringAddr(TX, ring({ [part]: (end - bytes) & ~15n }));
    }
  });

  it('the event words as well, where they are used', () => {
    vhost.setMemTable(memory);
    const last = { usedRing: end - 12n };
    vhost.setVringAddr(TX, ring(last));
    vhost.setFeatures(bit(VIRTIO_RING_F_EVENT_IDX));
    breaks(() => vhost.setVringAddr(TX, ring(last)), /^addresses\.usedRing must .* 14 bytes/, ADDR, TX);
  });

  it('a ring that grew out of the memory, when its queue starts', () => {
    vhost.setVringAddr(TX, ring({ usedRing: end - 512n }));
    vhost.setMemTable(memory);
    vhost.setVringNum(TX, 64);
    const tap = kernel.callersDescriptor('tap');
    breaks(
      () => vhost.setBackend(TX, tap),
      /^the ring of queue 1 must be inside .*usedRing: 516 bytes/,
      'VHOST_NET_SET_BACKEND',
      TX,
    );
    vhost.setVringNum(TX, 32);
    vhost.setBackend(TX, tap);
  });

  it('a table without the ring of a queue that runs', async () => {
    vhost.setMemTable(memory);
    vhost.setVringAddr(RX, ring());
    vhost.setBackend(RX, kernel.callersDescriptor('tap'));
    const other = new GuestMemory(kernel);
    other.addRegion({ size: 1 << 16 });
    breaks(
      () => vhost.setMemTable(other),
      /^memory must be a table that holds the ring of queue 0, which runs/,
      TABLE,
      RX,
    );
    await vhost.detachBackend(RX);
    vhost.setMemTable(other);
    vhost.setMemTable(memory);
    vhost.setBackend(RX, kernel.callersDescriptor('tap'));
    vhost.setBackend(RX, -1);
    vhost.setMemTable(other);
    vhost.setMemTable(memory);
    other.close();
  });

  it('regions that share guest physical addresses', () => {
    const table: MemoryTableEntry[] = [
      { guestPhysicalAddress: 0x3000n, size: 0x1000n, userAddress: start },
      { guestPhysicalAddress: 0x1000n, size: 0x2000n, userAddress: start + 0x1000n },
    ];
    memory.table = () => table;
    vhost.setMemTable(memory);
    table[1] = { ...table[1]!, size: 0x2001n };
    breaks(
      () => vhost.setMemTable(memory),
      /^memory must be made of regions that share no .* 'regions at 0x1000 and 0x3000'/,
      TABLE,
    );
    table[1] = table[0]!;
    breaks(() => vhost.setMemTable(memory), /regions at 0x3000 and 0x3000/, TABLE);
  });

  it('nothing where the memory is not known, or an IOTLB translates', () => {
    const elsewhere = ring({ usedRing: 0x1000n });
    vhost.setVringAddr(TX, elsewhere);
    vhost.setMemTable(memory);
    breaks(() => vhost.setVringAddr(TX, elsewhere), /^addresses\.usedRing/, ADDR, TX);
    vhost.setFeatures(bit(VIRTIO_F_ACCESS_PLATFORM));
    vhost.setVringAddr(TX, elsewhere);
    vhost.resetOwner();
    vhost.setOwner();
    vhost.setVringAddr(TX, elsewhere);
  });

  it('arguments of other types, by their name', () => {
    for (const [addresses, message] of [
      [undefined, /^addresses must be an object/],
      [{ ...ring(), descriptorTable: 4096 }, /^addresses\.descriptorTable must be a bigint/],
      [{ ...ring(), availableRing: undefined }, /^addresses\.availableRing must be a bigint/],
      [{ ...ring(), usedRing: '0' }, /^addresses\.usedRing must be a bigint/],
    ] as const)
      assert.throws(() => vhost.setVringAddr(TX, addresses as never), {
        code: 'ERR_VHOST_INVALID_ARGUMENT',
        message,
      });
  });
});
