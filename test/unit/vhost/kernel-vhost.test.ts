import assert from 'node:assert/strict';
import type { VringAddresses } from '../../../lib/kernel/kernel.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { turn } from '../../support/open-nic.js';

describe('KernelVhost', () => {
  let kernel: FakeKernel;
  let memory: GuestMemory;
  let vhost: KernelVhost;

  beforeEach(() => {
    kernel = new FakeKernel({ extendedFeatures: [0xan], forkControl: true });
    memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 16 });
    vhost = KernelVhost.open({ kernel });
  });
  afterEach(() => {
    vhost.close();
    memory.close();
    kernel.assertNothingLeft();
  });

  /** A ring of 8 in guest memory, a page for each queue. */
  function ring(queue: number): VringAddresses {
    const start = memory.regions[0]!.userAddress + BigInt(queue * 4096);
    return { flags: 0, descriptorTable: start, availableRing: start + 128n, usedRing: start + 256n, log: 0n };
  }

  /** Brings queue 0 to where a backend can be set. */
  function prepare(): void {
    vhost.setOwner();
    vhost.setMemTable(memory);
    vhost.setVringNum(0, 8);
    vhost.setVringAddr(0, ring(0));
  }

  it('refuses options that are none', () => {
    const wrong: [unknown, RegExp][] = [
      ['/dev/vhost-net', /^options must be an object of options/],
      [{ kernel, device: '/dev/vhost-net' }, /^options must be made of the options path, kernel; received/],
      [{ kernel, path: 7 }, /^path must be the path of a device; received 7$/],
    ];
    for (const [options, message] of wrong)
      for (const call of [KernelVhost.open, KernelVhost.capabilities])
        assert.throws(() => call(options as never), { code: 'ERR_VHOST_INVALID_ARGUMENT', message });
  });

  it('takes no more regions than the module does, and none that is not in the table of a device', async () => {
    prepare();
    kernel.files.set('/sys/module/vhost/parameters/max_mem_regions', '2\n');
    const region = await memory.hotAdd({ size: 4096 });
    assert.equal(kernel.queue(vhost.fd, 0).device.memoryTable!.length, 2);
    await assert.rejects(memory.hotAdd({ size: 4096 }), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      request: 'VHOST_SET_MEM_TABLE',
      message:
        'memory must be made of at most the 2 regions of /sys/module/vhost/parameters/max_mem_regions; received 3',
    });
    assert.equal(memory.regions.length, 2);
    await memory.hotRemove(region);
    assert.equal(kernel.queue(vhost.fd, 0).device.memoryTable!.length, 1);
  });

  it('tells the kernel of no table while a backend is detached', async () => {
    prepare();
    let release = (): void => {};
    kernel.attachDevice({ detached: () => new Promise<void>((resolve) => (release = resolve)) });
    vhost.setBackend(0, kernel.callersDescriptor('tap'));
    const detached = vhost.detachBackend(0);
    await turn();
    const added = memory.hotAdd({ size: 4096 });
    await turn();
    assert.equal(kernel.queue(vhost.fd, 0).device.memoryTable!.length, 1);
    release();
    await detached;
    await added;
    assert.equal(kernel.queue(vhost.fd, 0).device.memoryTable!.length, 2);
  });

  it('makes one request for each method, 1:1', async () => {
    prepare();
    const eventfd = kernel.callersDescriptor('eventfd');
    const tap = kernel.callersDescriptor('tap');
    const { fd } = vhost;
    const requests: [() => unknown, string, unknown[]][] = [
      [() => vhost.getFeatures(), 'vhost.getFeatures', [fd]],
      [() => vhost.setFeatures(1n << 32n), 'vhost.setFeatures', [fd, 1n << 32n]],
      [() => vhost.setMemTable(memory), 'vhost.setMemTable', [fd, memory.table()]],
      [() => vhost.setLogBase(4096n), 'vhost.setLogBase', [fd, 4096n]],
      [() => vhost.setLogFd(eventfd), 'vhost.setLogFd', [fd, eventfd]],
      [() => vhost.setVringNum(1, 8), 'vhost.setVringNum', [fd, 1, 8]],
      [() => vhost.setVringBase(1, 65_535), 'vhost.setVringBase', [fd, 1, 65_535]],
      [() => vhost.getVringBase(1), 'vhost.getVringBase', [fd, 1]],
      [() => vhost.setVringAddr(1, ring(1)), 'vhost.setVringAddr', [fd, 1, ring(1)]],
      [() => vhost.setVringKick(1, eventfd), 'vhost.setVringKick', [fd, 1, eventfd]],
      [() => vhost.setVringCall(1, -1), 'vhost.setVringCall', [fd, 1, -1]],
      [() => vhost.setVringErr(1, eventfd), 'vhost.setVringErr', [fd, 1, eventfd]],
      [() => vhost.setVringBusyloopTimeout(1, 50), 'vhost.setVringBusyloopTimeout', [fd, 1, 50]],
      [() => vhost.getVringBusyloopTimeout(1), 'vhost.getVringBusyloopTimeout', [fd, 1]],
      [() => vhost.getFeaturesArray(), 'vhost.getFeaturesArray', [fd, 2]],
      [() => vhost.getFeaturesArray(3), 'vhost.getFeaturesArray', [fd, 2]],
      [() => vhost.setFeaturesArray([1n << 32n, 2n]), 'vhost.setFeaturesArray', [fd, [1n << 32n, 2n]]],
      [() => vhost.getBackendFeatures(), 'vhost.getBackendFeatures', [fd]],
      [() => vhost.setBackendFeatures(2n), 'vhost.setBackendFeatures', [fd, 2n]],
      [() => vhost.getForkFromOwner(), 'vhost.getForkFromOwner', [fd]],
      [() => vhost.setBackend(0, tap), 'vhost.netSetBackend', [fd, 0, tap]],
      [() => vhost.detachBackend(0), 'vhost.netDetachBackend', [fd, 0]],
      [() => vhost.resetOwner(), 'vhost.resetOwner', [fd]],
      [() => vhost.setForkFromOwner(0), 'vhost.setForkFromOwner', [fd, 0]],
    ];
    for (const [request, name, args] of requests) {
      const before = kernel.calls.length;
      await request();
      const calls = kernel.calls.slice(before).filter((call) => call.name.startsWith('vhost.'));
      assert.equal(calls.length, 1, name);
      assert.equal(calls[0]!.name, name);
      assert.deepEqual(calls[0]!.args, args);
    }
    assert.equal(vhost.getFeatures(), 0x1033d008000n);
  });

  it('returns what the kernel answers', () => {
    prepare();
    vhost.setVringBase(1, 65_535);
    assert.equal(vhost.getVringBase(1), 65_535);
    vhost.setVringBusyloopTimeout(1, 50);
    assert.equal(vhost.getVringBusyloopTimeout(1), 50);
    assert.deepEqual(vhost.getFeaturesArray(), [0x1033d008000n, 0xan]);
    assert.deepEqual(vhost.getFeaturesArray(1), [0x1033d008000n]);
    assert.deepEqual(vhost.getFeaturesArray(4), [0x1033d008000n, 0xan, 0n, 0n]);
    assert.throws(() => vhost.getFeaturesArray(65), { code: 'ERR_VHOST_OUT_OF_RANGE', message: /^words / });
    assert.equal(vhost.getBackendFeatures(), 2n);
    assert.equal(vhost.getForkFromOwner(), 1);
  });

  it('agrees on segments in UDP tunnels, whose bits are in the second word, until 64 bits are agreed on', () => {
    const VERSION_1 = 1n << 32n;
    const tunnels = (1n << (65n - 64n)) | (1n << (67n - 64n));
    assert.equal(vhost.getFeaturesArray()[1], tunnels);
    vhost.setFeaturesArray([VERSION_1, tunnels]);
    prepare();
    const { device } = kernel.queue(vhost.fd, 0);
    assert.deepEqual([device.features, device.extendedFeatures], [VERSION_1, [tunnels]]);
    const { featureNames } = KernelVhost.capabilities({ kernel });
    assert.deepEqual(featureNames.slice(-2), [
      'VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO',
      'VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO',
    ]);
    vhost.setFeatures(VERSION_1);
    assert.deepEqual(device.extendedFeatures, []);
  });

  it('sets the byte order of a legacy ring where the kernel can', () => {
    vhost.close();
    memory.close();
    kernel = new FakeKernel({ crossEndian: true });
    memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 16 });
    vhost = KernelVhost.open({ kernel });
    prepare();
    assert.equal(KernelVhost.capabilities({ kernel }).vringEndian, true);
    vhost.setVringEndian(0, 1);
    assert.equal(vhost.getVringEndian(0), 1);
    const request = 'VHOST_SET_VRING_ENDIAN';
    assert.throws(() => vhost.setVringEndian(0, 2), { code: 'EINVAL', request, queue: 0 });
    vhost.setBackend(0, kernel.callersDescriptor('tap'));
    assert.throws(() => vhost.setVringEndian(0, 0), { code: 'EBUSY', request, queue: 0 });
    vhost.setBackend(0, -1);
  });

  it('passes refusals on as they are, with a hint where the cause is known', async () => {
    const { fd } = vhost;
    assert.throws(() => vhost.setVringNum(0, 8), {
      code: 'EPERM',
      syscall: 'ioctl',
      request: 'VHOST_SET_VRING_NUM',
      queue: 0,
      hint: /VHOST_SET_OWNER has not been called/,
    });
    prepare();
    assert.throws(() => vhost.setOwner(), {
      code: 'EBUSY',
      request: 'VHOST_SET_OWNER',
      hint: /open the device anew/,
    });
    assert.throws(() => vhost.setFeatures(1n), { code: 'EOPNOTSUPP', request: 'VHOST_SET_FEATURES' });
    assert.throws(() => vhost.setBackend(0, kernel.callersDescriptor('character device')), {
      code: 'ENOTSOCK',
      request: 'VHOST_NET_SET_BACKEND',
    });
    kernel.failOn('vhost.netDetachBackend', 'EFAULT');
    await assert.rejects(vhost.detachBackend(0), { code: 'EFAULT', hint: /cannot be reached/ });
    assert.equal(vhost.fd, fd, 'it goes on after a refusal');
  });

  it('refuses everything after close, and nothing reaches the kernel', async () => {
    vhost.close();
    vhost.close();
    const before = kernel.calls.length;
    const closed = { code: 'ERR_VHOST_CLOSED', message: '/dev/vhost-net is closed' };
    const requests: (() => unknown)[] = [
      () => vhost.fd,
      () => vhost.getFeatures(),
      () => vhost.setFeatures(0n),
      () => vhost.setOwner(),
      () => vhost.setMemTable(memory),
      () => vhost.setLogBase(0n),
      () => vhost.setLogFd(-1),
      () => vhost.setVringNum(0, 8),
      () => vhost.setVringBase(0, 0),
      () => vhost.getVringBase(0),
      () => vhost.setVringAddr(0, ring(0)),
      () => vhost.setVringKick(0, -1),
      () => vhost.setVringCall(0, -1),
      () => vhost.setVringErr(0, -1),
      () => vhost.setVringBusyloopTimeout(0, 0),
      () => vhost.setBackend(0, -1),
      () => vhost.getFeaturesArray(),
      () => vhost.setFeaturesArray([]),
      () => vhost.resetOwner(),
      () => vhost.setVringEndian(0, 0),
      () => vhost.getVringEndian(0),
      () => vhost.getVringBusyloopTimeout(0),
      () => vhost.getBackendFeatures(),
      () => vhost.setBackendFeatures(0n),
      () => vhost.newWorker(),
      () => vhost.freeWorker(0),
      () => vhost.attachVringWorker(0, 0),
      () => vhost.getVringWorker(0),
      () => vhost.getForkFromOwner(),
      () => vhost.setForkFromOwner(1),
    ];
    for (const request of requests) assert.throws(request, closed);
    await assert.rejects(vhost.detachBackend(0), closed);
    assert.equal(kernel.calls.length, before);
    memory.close();
  });

  it('holds the memory that it was told of until it is closed', () => {
    vhost.setOwner();
    const inUse = { code: 'ERR_VHOST_IN_USE' };
    vhost.setMemTable(memory);
    assert.throws(() => memory.close(), inUse);
    memory.addRegion({ size: 4096 });
    vhost.setMemTable(memory);
    const other = new GuestMemory(kernel);
    other.addRegion({ size: 4096 });
    vhost.setMemTable(other);
    assert.throws(() => other.close(), inUse);
    memory.close();
    vhost.close();
    other.close();
  });

  it('holds nothing that the kernel refused', () => {
    assert.throws(() => vhost.setMemTable(memory), { code: 'EPERM' });
    memory.close();
  });

  it('lets go of its memory even where close(2) reports an error', () => {
    vhost.setOwner();
    vhost.setMemTable(memory);
    kernel.failOn('descriptor.close', 'EIO');
    assert.throws(() => vhost.close(), { code: 'EIO' });
    memory.close();
  });

  it('lets go of it as well when it gives the device up', () => {
    prepare();
    vhost.resetOwner();
    memory.close();
    vhost.setOwner();
  });

  it('is not closed while a detach is under way, and keeps its memory', async () => {
    prepare();
    vhost.setBackend(0, kernel.callersDescriptor('tap'));
    let release!: () => void;
    const waiting = new Promise<void>((resolve) => {
      release = resolve;
    });
    kernel.attachDevice({ detached: () => waiting });
    const detaching = vhost.detachBackend(0);
    await turn();
    assert.throws(() => vhost.close(), {
      code: 'ERR_VHOST_IN_USE',
      message: 'a backend is being detached from /dev/vhost-net; await detachBackend() first',
    });
    assert.throws(() => memory.close(), { code: 'ERR_VHOST_IN_USE' });
    release();
    await detaching;
  });

  it('opens the node that it is told to', () => {
    assert.equal(vhost.path, '/dev/vhost-net');
    assert.throws(() => KernelVhost.open({ kernel, path: '/dev/null' }), {
      code: 'ENOENT',
      path: '/dev/null',
    });
  });
});
