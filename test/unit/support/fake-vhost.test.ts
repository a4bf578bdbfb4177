import assert from 'node:assert/strict';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '../../../lib/abi/if-tun.js';
import type { MemoryTableEntry, VringAddresses } from '../../../lib/kernel/kernel.js';
import { FakeKernel, offeredFeatures } from '../../support/fake-kernel.js';

/** A device with an owner, a table and rings in memory, and a tap. */
function setUp(kernel: FakeKernel) {
  const memory = kernel.memory.create('region', 1 << 16, 0);
  const fd = kernel.vhost.open('/dev/vhost-net');
  const tap = kernel.tun.open('/dev/net/tun');
  kernel.tun.setIff(tap, 'tap0', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  const table: MemoryTableEntry = {
    guestPhysicalAddress: 0x4000_0000n,
    size: 1n << 16n,
    userAddress: memory.address,
  };
  const ring: VringAddresses = {
    flags: 0,
    descriptorTable: memory.address,
    availableRing: memory.address + 4096n,
    usedRing: memory.address + 8192n,
    log: 0n,
  };
  return { memory, fd, tap, table, ring };
}

describe('fake kernel: vhost refuses as Linux does', () => {
  let kernel: FakeKernel;
  let memory: ReturnType<typeof setUp>['memory'];
  let fd: number;
  let tap: number;
  let table: MemoryTableEntry;
  let ring: VringAddresses;
  beforeEach(() => {
    kernel = new FakeKernel();
    ({ memory, fd, tap, table, ring } = setUp(kernel));
  });

  function ready(): void {
    kernel.vhost.setOwner(fd);
    kernel.vhost.setMemTable(fd, [table]);
    for (const queue of [0, 1]) kernel.vhost.setVringAddr(fd, queue, ring);
  }

  it('open(2) of another path', () => {
    assert.throws(() => kernel.vhost.open('/dev/vhost-vsock'), { code: 'ENOENT', path: '/dev/vhost-vsock' });
  });

  it('EPERM before there is an owner, but for features', () => {
    const refused: (() => unknown)[] = [
      () => kernel.vhost.setMemTable(fd, [table]),
      () => kernel.vhost.setVringNum(fd, 0, 256),
      () => kernel.vhost.setVringNum(fd, 9, 256),
      () => kernel.vhost.setVringKick(fd, 0, -1),
      () => kernel.vhost.netSetBackend(fd, 0, tap),
      () => kernel.vhost.setLogBase(fd, memory.address),
      () => kernel.vhost.resetOwner(fd),
      () => kernel.vhost.newWorker(fd),
      () => kernel.vhost.getFeaturesArray(fd, 2),
    ];
    for (const call of refused) assert.throws(call, { code: 'EPERM' });
    assert.equal(kernel.vhost.getFeatures(fd), offeredFeatures);
    kernel.vhost.setFeatures(fd, 1n << 32n);
    kernel.vhost.setBackendFeatures(fd, kernel.vhost.getBackendFeatures(fd));
  });

  it('EBUSY for a second owner, until the first gave up', () => {
    kernel.vhost.setOwner(fd);
    assert.throws(() => kernel.vhost.setOwner(fd), { code: 'EBUSY', request: 'VHOST_SET_OWNER' });
    kernel.vhost.resetOwner(fd);
    kernel.vhost.setOwner(fd);
  });

  it('EOPNOTSUPP for features that are not offered', () => {
    assert.throws(() => kernel.vhost.setFeatures(fd, 1n), { code: 'EOPNOTSUPP' });
    assert.throws(() => kernel.vhost.setBackendFeatures(fd, 4n), { code: 'EOPNOTSUPP' });
  });

  it('SET_MEM_TABLE: E2BIG above 64 regions, EFAULT for an empty region above address 0', () => {
    kernel.vhost.setOwner(fd);
    assert.throws(() => kernel.vhost.setMemTable(fd, Array(65).fill(table)), { code: 'E2BIG' });
    assert.throws(() => kernel.vhost.setMemTable(fd, [{ ...table, size: 0n }]), { code: 'EFAULT' });
    kernel.vhost.setMemTable(fd, [{ ...table, guestPhysicalAddress: 0n, size: 0n }]);
    kernel.vhost.setMemTable(fd, [table, table]);
    kernel.vhost.setMemTable(fd, [{ ...table, userAddress: 4096n }]);
    assert.match(kernel.notes.at(-1)!, /nothing is mapped at 0x1000/);
  });

  it('EFAULT for memory or a log that no program has, once a queue runs, and not before', () => {
    const outOfReach = 1n << 63n;
    const logAll = 1n << 26n;
    kernel.vhost.setOwner(fd);
    kernel.vhost.setMemTable(fd, [{ ...table, userAddress: outOfReach }]);
    for (const queue of [0, 1]) kernel.vhost.setVringAddr(fd, queue, ring);
    assert.throws(() => kernel.vhost.netSetBackend(fd, 1, tap), { code: 'EFAULT', queue: 1 });
    kernel.vhost.setMemTable(fd, [table]);
    kernel.vhost.setLogBase(fd, outOfReach);
    kernel.vhost.setFeatures(fd, logAll);
    assert.throws(() => kernel.vhost.netSetBackend(fd, 1, tap), { code: 'EFAULT', queue: 1 });
    kernel.vhost.setFeatures(fd, 0n);

    kernel.vhost.netSetBackend(fd, 1, tap);
    assert.throws(() => kernel.vhost.setMemTable(fd, [{ ...table, userAddress: outOfReach }]), {
      code: 'EFAULT',
    });
    assert.throws(() => kernel.vhost.setFeatures(fd, logAll), {
      code: 'EFAULT',
      request: 'VHOST_SET_FEATURES',
    });
    kernel.vhost.setLogBase(fd, memory.address);
    kernel.vhost.setFeatures(fd, logAll);
    assert.throws(() => kernel.vhost.setLogBase(fd, outOfReach), {
      code: 'EFAULT',
      request: 'VHOST_SET_LOG_BASE',
    });
    kernel.vhost.setFeatures(fd, 0n);
    kernel.vhost.setLogBase(fd, outOfReach);
  });

  it('ENOBUFS for a queue that the device has not', () => {
    ready();
    assert.throws(() => kernel.vhost.setVringNum(fd, 2, 256), { code: 'ENOBUFS', queue: 2 });
    assert.throws(() => kernel.vhost.netSetBackend(fd, 2, tap), { code: 'ENOBUFS', queue: 2 });
    assert.throws(() => kernel.vhost.setVringCall(fd, 2, -1), { code: 'ENOBUFS' });
  });

  it('SET_VRING_NUM: EINVAL but for powers of two up to 32768', () => {
    ready();
    for (const size of [0, 3, 65536, 1000])
      assert.throws(() => kernel.vhost.setVringNum(fd, 0, size), { code: 'EINVAL' });
    for (const size of [1, 256, 32768]) kernel.vhost.setVringNum(fd, 0, size);
  });

  it('SET_VRING_ADDR: EOPNOTSUPP for unknown flags, EINVAL for unaligned rings, not for the table', () => {
    ready();
    const set = (change: Partial<VringAddresses>) => kernel.vhost.setVringAddr(fd, 0, { ...ring, ...change });
    assert.throws(() => set({ flags: 2 }), { code: 'EOPNOTSUPP' });
    assert.throws(() => set({ availableRing: ring.availableRing + 1n }), { code: 'EINVAL' });
    assert.throws(() => set({ usedRing: ring.usedRing + 2n }), { code: 'EINVAL' });
    assert.throws(() => set({ log: 2n }), { code: 'EINVAL' });
    set({ flags: 1, descriptorTable: ring.descriptorTable + 1n });
  });

  it('EBUSY for size and base while a backend is set, EINVAL for a base above 16 bits', () => {
    ready();
    assert.throws(() => kernel.vhost.setVringBase(fd, 0, 0x10000), { code: 'EINVAL' });
    kernel.vhost.setVringBase(fd, 0, 0xffff);
    assert.equal(kernel.vhost.getVringBase(fd, 0), 0xffff);
    kernel.vhost.netSetBackend(fd, 0, tap);
    assert.throws(() => kernel.vhost.setVringNum(fd, 0, 256), { code: 'EBUSY' });
    assert.throws(() => kernel.vhost.setVringBase(fd, 0, 0), { code: 'EBUSY' });
    kernel.vhost.setVringNum(fd, 1, 256);
    kernel.vhost.netSetBackend(fd, 0, -1);
    kernel.vhost.setVringNum(fd, 0, 256);
  });

  it('eventfds: EINVAL for another file, EBADF for none, -1 removes', () => {
    ready();
    assert.throws(() => kernel.vhost.setVringKick(fd, 0, tap), { code: 'EINVAL', queue: 0 });
    assert.throws(() => kernel.vhost.setVringErr(fd, 0, 5000), { code: 'EBADF' });
    kernel.vhost.setVringCall(fd, 0, kernel.eventfd.create());
    kernel.vhost.setVringCall(fd, 0, -1);
    assert.equal(kernel.queue(fd, 0).call(), false);
  });

  it('SET_BACKEND: EFAULT without a memory table, for a detach too', async () => {
    kernel.vhost.setOwner(fd);
    kernel.vhost.setVringAddr(fd, 0, ring);
    assert.throws(() => kernel.vhost.netSetBackend(fd, 0, tap), { code: 'EFAULT' });
    assert.throws(() => kernel.vhost.netSetBackend(fd, 0, -1), { code: 'EFAULT' });
    await assert.rejects(kernel.vhost.netDetachBackend(fd, 0), { code: 'EFAULT', queue: 0 });
  });

  it('SET_BACKEND: EFAULT where no ring was set', () => {
    kernel.vhost.setOwner(fd);
    kernel.vhost.setMemTable(fd, [table]);
    assert.throws(() => kernel.vhost.netSetBackend(fd, 0, tap), { code: 'EFAULT' });
  });

  it('SET_BACKEND: ENOTSOCK for what is neither tap nor raw packet socket', () => {
    ready();
    const kinds = [
      'character device',
      'eventfd',
      'udp socket',
      'raw ip socket',
      'cooked packet socket',
    ] as const;
    for (const kind of kinds) {
      const other = kernel.callersDescriptor(kind);
      assert.throws(() => kernel.vhost.netSetBackend(fd, 0, other), { code: 'ENOTSOCK' }, kind);
    }
    kernel.vhost.netSetBackend(fd, 0, kernel.callersDescriptor('packet socket'));
    kernel.vhost.netSetBackend(fd, 1, kernel.callersDescriptor('tap'));
  });

  it('SET_BACKEND: EINVAL for a tap that is attached to no interface', () => {
    ready();
    const unattached = kernel.tun.open('/dev/net/tun');
    assert.throws(() => kernel.vhost.netSetBackend(fd, 0, unattached), { code: 'EINVAL' });
    kernel.interfaces.remove('tap0');
    assert.throws(() => kernel.vhost.netSetBackend(fd, 0, tap), { code: 'EINVAL' });
  });

  it('SET_BACKEND: the same and another backend are accepted while one is set', () => {
    ready();
    kernel.vhost.netSetBackend(fd, 0, tap);
    kernel.vhost.netSetBackend(fd, 0, tap);
    kernel.vhost.netSetBackend(fd, 0, kernel.callersDescriptor('tap'));
  });

  it('workers: ENOTTY, or ENOBUFS where the first word of the argument is 2 and more', () => {
    kernel.vhost.setOwner(fd);
    assert.throws(() => kernel.vhost.newWorker(fd), { code: 'ENOTTY', request: 'VHOST_NEW_WORKER' });
    assert.throws(() => kernel.vhost.freeWorker(fd, 1), { code: 'ENOTTY' });
    assert.throws(() => kernel.vhost.freeWorker(fd, 2), { code: 'ENOBUFS' });
    assert.throws(() => kernel.vhost.attachVringWorker(fd, 0, 5), { code: 'ENOTTY', queue: 0 });
    assert.throws(() => kernel.vhost.getVringWorker(fd, 2), { code: 'ENOBUFS' });
  });

  it('byte order: ENOTTY, as where CONFIG_VHOST_CROSS_ENDIAN_LEGACY is off', () => {
    kernel.vhost.setOwner(fd);
    assert.throws(() => kernel.vhost.setVringEndian(fd, 0, 0), { code: 'ENOTTY' });
    assert.throws(() => kernel.vhost.getVringEndian(fd, 0), { code: 'ENOTTY' });
  });

  it('byte order where it is on: EINVAL for a third one, EBUSY with a backend', () => {
    kernel = new FakeKernel({ crossEndian: true });
    ({ fd, tap, table, ring, memory } = setUp(kernel));
    ready();
    for (const endian of [1, 0]) {
      kernel.vhost.setVringEndian(fd, 0, endian);
      assert.equal(kernel.vhost.getVringEndian(fd, 0), endian);
    }
    assert.throws(() => kernel.vhost.setVringEndian(fd, 0, 2), { code: 'EINVAL', queue: 0 });
    assert.throws(() => kernel.vhost.setVringEndian(fd, 2, 0), { code: 'ENOBUFS', queue: 2 });
    kernel.vhost.netSetBackend(fd, 0, tap);
    assert.throws(() => kernel.vhost.setVringEndian(fd, 0, 2), { code: 'EBUSY', queue: 0 });
  });

  it('busy polling is accepted at any time', () => {
    ready();
    kernel.vhost.netSetBackend(fd, 1, tap);
    kernel.vhost.setVringBusyloopTimeout(fd, 1, 50);
    assert.equal(kernel.vhost.getVringBusyloopTimeout(fd, 1), 50);
  });

  it('more than 64 feature bits: unknown to an older kernel', () => {
    kernel.vhost.setOwner(fd);
    assert.throws(() => kernel.vhost.getFeaturesArray(fd, 2), { code: 'ENOBUFS' });
    assert.throws(() => kernel.vhost.setFeaturesArray(fd, [0n]), { code: 'ENOTTY' });
  });

  it('more than 64 feature bits: two words of a newer one, and garbage where more are asked for', () => {
    const newer = new FakeKernel({ extendedFeatures: [0b1010n] });
    const device = newer.vhost.open('/dev/vhost-net');
    assert.deepEqual(newer.vhost.getFeaturesArray(device, 2), [offeredFeatures, 0b1010n]);
    assert.deepEqual(newer.vhost.getFeaturesArray(device, 3), [0n, 0b1010n, 0n]);
    newer.vhost.setFeaturesArray(device, [1n << 32n, 0b10n]);
    assert.throws(() => newer.vhost.setFeaturesArray(device, [0n, 0b1n]), { code: 'EOPNOTSUPP' });
    assert.throws(() => newer.vhost.setFeaturesArray(device, [0n, 0n, 1n]), { code: 'EOPNOTSUPP' });
  });

  it('the kind of worker: before the owner only, and only where it was compiled in', () => {
    kernel.vhost.setOwner(fd);
    assert.throws(() => kernel.vhost.setForkFromOwner(fd, 1), { code: 'ENOTTY' });
    const newer = new FakeKernel({ forkControl: true });
    const device = newer.vhost.open('/dev/vhost-net');
    assert.throws(() => newer.vhost.setForkFromOwner(device, 2), { code: 'EINVAL' });
    newer.vhost.setForkFromOwner(device, 0);
    newer.vhost.setOwner(device);
    assert.throws(() => newer.vhost.setForkFromOwner(device, 1), { code: 'EBUSY' });
    assert.equal(newer.vhost.getForkFromOwner(device), 0);
  });

  it('ENOTTY for a descriptor of another kind', () => {
    assert.throws(() => kernel.vhost.setOwner(tap), { code: 'ENOTTY' });
  });

  it('read(2): EAGAIN where no message of an IOTLB waits; write(2): EFAULT without an IOTLB', () => {
    assert.throws(() => kernel.descriptor.read(fd, new Uint8Array(72)), { code: 'EAGAIN' });
    assert.throws(() => kernel.descriptor.write(fd, new Uint8Array(72)), { code: 'EFAULT' });
  });

  it('closing with a backend is allowed, and noted', () => {
    ready();
    kernel.vhost.netSetBackend(fd, 1, tap);
    kernel.descriptor.close(fd);
    assert.deepEqual(kernel.violations, []);
    assert.match(kernel.notes[0]!, /closed with a backend on queue 1/);
  });

  it('fstat(2) tells the device nodes apart', () => {
    assert.deepEqual(kernel.descriptor.stat(fd), { type: 0o020000, major: 10, minor: 238 });
    assert.deepEqual(kernel.descriptor.stat(tap), { type: 0o020000, major: 10, minor: 200 });
    assert.equal(kernel.descriptor.stat(kernel.callersDescriptor('packet socket')).type, 0o140000);
  });
});
