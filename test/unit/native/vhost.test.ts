import assert from 'node:assert/strict';
import { hostKernel } from '../../../lib/kernel/host.js';
import type { MemoryTableEntry, VringAddresses } from '../../../lib/kernel/kernel.js';
import { assertRefusal, throwsRefusal, throwsWrongType, throwsWrongValue } from './refusal.js';

const CLOSED = 1_000_000;

const addresses: VringAddresses = {
  flags: 0,
  descriptorTable: 0x1000n,
  availableRing: 0x2000n,
  usedRing: 0x3000n,
  log: 0n,
};
const region: MemoryTableEntry = { guestPhysicalAddress: 0n, size: 4096n, userAddress: 0x1000n };

/** Against descriptors that are no vhost device: what each method asks of the kernel shows in the refusal. */
describe('native vhost', () => {
  const { vhost, eventfd, descriptor } = hostKernel();
  let fd: number;
  before(() => {
    fd = eventfd.create();
  });
  after(() => descriptor.close(fd));

  const requests: [string, number | undefined, (fd: number) => unknown][] = [
    ['VHOST_GET_FEATURES', undefined, (fd) => vhost.getFeatures(fd)],
    ['VHOST_SET_FEATURES', undefined, (fd) => vhost.setFeatures(fd, 1n << 63n)],
    ['VHOST_GET_FEATURES_ARRAY', undefined, (fd) => vhost.getFeaturesArray(fd, 2)],
    ['VHOST_SET_FEATURES_ARRAY', undefined, (fd) => vhost.setFeaturesArray(fd, [0n, 2n ** 64n - 1n])],
    ['VHOST_SET_OWNER', undefined, (fd) => vhost.setOwner(fd)],
    ['VHOST_RESET_OWNER', undefined, (fd) => vhost.resetOwner(fd)],
    ['VHOST_SET_MEM_TABLE', undefined, (fd) => vhost.setMemTable(fd, [region, region])],
    ['VHOST_SET_MEM_TABLE', undefined, (fd) => vhost.setMemTable(fd, [])],
    ['VHOST_SET_LOG_BASE', undefined, (fd) => vhost.setLogBase(fd, 0n)],
    ['VHOST_SET_LOG_FD', undefined, (fd) => vhost.setLogFd(fd, -1)],
    ['VHOST_SET_VRING_NUM', 0, (fd) => vhost.setVringNum(fd, 0, 256)],
    ['VHOST_SET_VRING_ADDR', 1, (fd) => vhost.setVringAddr(fd, 1, addresses)],
    ['VHOST_SET_VRING_BASE', 0, (fd) => vhost.setVringBase(fd, 0, 65535)],
    ['VHOST_GET_VRING_BASE', 1, (fd) => vhost.getVringBase(fd, 1)],
    ['VHOST_SET_VRING_ENDIAN', 0, (fd) => vhost.setVringEndian(fd, 0, 1)],
    ['VHOST_GET_VRING_ENDIAN', 1, (fd) => vhost.getVringEndian(fd, 1)],
    ['VHOST_SET_VRING_KICK', 0, (fd) => vhost.setVringKick(fd, 0, -1)],
    ['VHOST_SET_VRING_CALL', 1, (fd) => vhost.setVringCall(fd, 1, 0)],
    ['VHOST_SET_VRING_ERR', 2, (fd) => vhost.setVringErr(fd, 2, 7)],
    ['VHOST_SET_VRING_BUSYLOOP_TIMEOUT', 0, (fd) => vhost.setVringBusyloopTimeout(fd, 0, 50)],
    [
      'VHOST_GET_VRING_BUSYLOOP_TIMEOUT',
      4_294_967_295,
      (fd) => vhost.getVringBusyloopTimeout(fd, 2 ** 32 - 1),
    ],
    ['VHOST_SET_BACKEND_FEATURES', undefined, (fd) => vhost.setBackendFeatures(fd, 2n)],
    ['VHOST_GET_BACKEND_FEATURES', undefined, (fd) => vhost.getBackendFeatures(fd)],
    ['VHOST_NEW_WORKER', undefined, (fd) => vhost.newWorker(fd)],
    ['VHOST_FREE_WORKER', undefined, (fd) => vhost.freeWorker(fd, 0)],
    ['VHOST_ATTACH_VRING_WORKER', 1, (fd) => vhost.attachVringWorker(fd, 1, 0)],
    ['VHOST_GET_VRING_WORKER', 0, (fd) => vhost.getVringWorker(fd, 0)],
    ['VHOST_SET_FORK_FROM_OWNER', undefined, (fd) => vhost.setForkFromOwner(fd, 255)],
    ['VHOST_GET_FORK_FROM_OWNER', undefined, (fd) => vhost.getForkFromOwner(fd)],
    ['VHOST_NET_SET_BACKEND', 1, (fd) => vhost.netSetBackend(fd, 1, -1)],
  ];

  it('has a test here for each request', () => {
    const asked = new Set(requests.map(([request]) => request));
    // All but open and netDetachBackend, which have tests of their own.
    assert.equal(asked.size, Object.keys(vhost).length - 2);
  });

  for (const [request, queue, call] of requests) {
    it(`${request} names itself and its queue when refused`, () => {
      const where = queue === undefined ? {} : { queue };
      throwsRefusal(() => call(fd), { code: 'ENOTTY', syscall: 'ioctl', request, ...where });
      throwsRefusal(() => call(CLOSED), { code: 'EBADF', syscall: 'ioctl', request, ...where });
    });
  }

  it('VHOST_NET_SET_BACKEND on the pool rejects with the same refusal', async () => {
    const refusal = { syscall: 'ioctl', request: 'VHOST_NET_SET_BACKEND', queue: 1 };
    await assert.rejects(vhost.netDetachBackend(fd, 1), (error) =>
      assertRefusal(error, { code: 'ENOTTY', ...refusal }),
    );
    await assert.rejects(vhost.netDetachBackend(CLOSED, 1), (error) =>
      assertRefusal(error, { code: 'EBADF', ...refusal }),
    );
  });

  it('refuses to close a device under a pending detach', async () => {
    const device = eventfd.create();
    const detached = [vhost.netDetachBackend(device, 0), vhost.netDetachBackend(device, 1)];
    throwsRefusal(() => descriptor.close(device), { code: 'EBUSY', syscall: 'close' });
    await Promise.allSettled(detached);
    descriptor.close(device);
  });

  it('says which device could not be opened', () => {
    throwsRefusal(() => vhost.open('/dev/none'), { code: 'ENOENT', syscall: 'open', path: '/dev/none' });
    throwsWrongValue(() => vhost.open('/dev/vhost\0net'), 'vhost.open', 'path');
    throwsWrongType(() => vhost.open(undefined as never), 'vhost.open', 'path');
  });

  it('names the argument that is wrong, down to the field', () => {
    throwsWrongType(() => vhost.setFeatures(fd, 1 as never), 'vhost.setFeatures', 'features');
    throwsWrongValue(() => vhost.setFeatures(fd, -1n), 'vhost.setFeatures', 'features');
    throwsWrongValue(() => vhost.setFeatures(fd, 2n ** 64n), 'vhost.setFeatures', 'features');
    throwsWrongType(() => vhost.setFeaturesArray(fd, 'x' as never), 'vhost.setFeaturesArray', 'words');
    throwsWrongType(() => vhost.setFeaturesArray(fd, [0n, 1 as never]), 'vhost.setFeaturesArray', 'words[1]');
    throwsWrongValue(() => vhost.getFeaturesArray(fd, 65), 'vhost.getFeaturesArray', 'words');
    throwsWrongType(() => vhost.setMemTable(fd, {} as never), 'vhost.setMemTable', 'regions');
    throwsWrongType(() => vhost.setMemTable(fd, [region, 5 as never]), 'vhost.setMemTable', 'regions[1]');
    throwsWrongType(
      () => vhost.setMemTable(fd, [{ ...region, size: 4096 as never }]),
      'vhost.setMemTable',
      'regions[0].size',
    );
    throwsWrongValue(() => vhost.setMemTable(fd, new Array(4_294_967_295)), 'vhost.setMemTable', 'regions');
    throwsWrongType(() => vhost.setVringAddr(fd, 0, null as never), 'vhost.setVringAddr', 'addresses');
    throwsWrongType(
      () => vhost.setVringAddr(fd, 0, { ...addresses, flags: 0n as never }),
      'vhost.setVringAddr',
      'addresses.flags',
    );
    throwsWrongType(
      () => vhost.setVringAddr(fd, 0, { ...addresses, usedRing: undefined as never }),
      'vhost.setVringAddr',
      'addresses.usedRing',
    );
    throwsWrongValue(() => vhost.setVringNum(fd, 0, 2 ** 32), 'vhost.setVringNum', 'size');
    throwsWrongValue(() => vhost.setVringNum(fd, -1, 1), 'vhost.setVringNum', 'queue');
    throwsWrongValue(() => vhost.setVringKick(fd, 0, -2), 'vhost.setVringKick', 'eventFd');
    throwsWrongValue(() => vhost.netSetBackend(fd, 0, -2), 'vhost.netSetBackend', 'backendFd');
    throwsWrongValue(() => vhost.setForkFromOwner(fd, 256), 'vhost.setForkFromOwner', 'value');
  });

  it('passes on what a getter throws', () => {
    const mine = new Error('mine');
    const hostile = {
      get size(): bigint {
        throw mine;
      },
      guestPhysicalAddress: 0n,
      userAddress: 0n,
    };
    assert.throws(() => vhost.setMemTable(fd, [hostile]), mine);
  });
});
