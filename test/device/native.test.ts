import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { hostKernel } from '../../lib/kernel/host.js';
import type { Mapping, Poller } from '../../lib/kernel/kernel.js';
import { memfdMappings, openDescriptors, threadCount } from '../unit/native/process-state.js';
import { resultOf } from '../unit/native/program.js';
import { assertRefusal, type ExpectedRefusal, throwsRefusal } from '../unit/native/refusal.js';

const PATH = '/dev/vhost-net';
const RX = 0;
const TX = 1;
const VIRTIO_F_VERSION_1 = 1n << 32n;
const VIRTIO_NET_F_MRG_RXBUF = 1n << 15n;
const VHOST_BACKEND_F_IOTLB_MSG_V2 = 1n << 1n;
const IFF_TAP_NO_PI_VNET_HDR = 0x5002;
const SIZE = 64;

/** Where the parts of a ring of SIZE lie in the test's memory, one page for each queue. */
const AVAILABLE = 16 * SIZE;
const USED = 2048;

/**
 * Whether the kernel knows a request. One that it does not know it refuses for want of an owner (EPERM), then takes the
 * first word for a queue's index (ENOBUFS), and only then says so (ENOTTY): the caller knows which of them comes first.
 */
function isKnown(call: () => unknown, unknown: ExpectedRefusal): boolean {
  try {
    call();
    return true;
  } catch (error) {
    assertRefusal(error, unknown);
    return false;
  }
}

describe('native: every request to the real device', () => {
  const { vhost, tun, netdev, packet, eventfd, memory, poller, descriptor } = hostKernel();
  const page = memory.pageSize();
  let fd: number;
  let mapping: Mapping;
  let open: number[];

  beforeEach(() => {
    fd = vhost.open(PATH);
    mapping = memory.create('native-device', 64 * page, 0);
    open = [];
  });
  afterEach(() => {
    descriptor.close(fd);
    for (const other of open) descriptor.close(other);
    memory.unmap(mapping);
  });

  function event(): number {
    const created = eventfd.create();
    open.push(created);
    return created;
  }

  function tap(name: string): number {
    const made = tun.open('/dev/net/tun');
    open.push(made);
    tun.setIff(made, name, IFF_TAP_NO_PI_VNET_HDR);
    tun.setVnetHdrSz(made, 12);
    return made;
  }

  function wholeMemory() {
    return { guestPhysicalAddress: 0n, size: BigInt(64 * page), userAddress: mapping.address };
  }

  function ringAddresses(queue: number) {
    const base = mapping.address + BigInt(queue * page);
    return {
      flags: 0,
      descriptorTable: base,
      availableRing: base + BigInt(AVAILABLE),
      usedRing: base + BigInt(USED),
      log: 0n,
    };
  }

  /** All that stands before a backend. */
  function setUp(): void {
    vhost.setOwner(fd);
    vhost.setFeatures(fd, vhost.getFeatures(fd) & (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF));
    vhost.setMemTable(fd, [wholeMemory()]);
    for (const queue of [RX, TX]) {
      vhost.setVringNum(fd, queue, SIZE);
      vhost.setVringBase(fd, queue, 0);
      vhost.setVringAddr(fd, queue, ringAddresses(queue));
    }
  }

  const refused = (code: ExpectedRefusal['code'], request: string, queue?: number): ExpectedRefusal => ({
    code,
    syscall: 'ioctl',
    request,
    ...(queue === undefined ? {} : { queue }),
  });

  it('open: a character device of the misc major', () => {
    assert.deepEqual(descriptor.stat(fd), { type: 0o020000, major: 10, minor: 238 });
  });

  it('VHOST_GET_FEATURES, VHOST_SET_FEATURES', () => {
    const offered = vhost.getFeatures(fd);
    assert.equal(offered & VIRTIO_F_VERSION_1, VIRTIO_F_VERSION_1);
    vhost.setFeatures(fd, VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF);
    throwsRefusal(() => vhost.setFeatures(fd, 1n << 63n), refused('EOPNOTSUPP', 'VHOST_SET_FEATURES'));
  });

  it('VHOST_GET_FEATURES_ARRAY, VHOST_SET_FEATURES_ARRAY', () => {
    let words: bigint[] = [];
    const known = isKnown(
      () => {
        words = vhost.getFeaturesArray(fd, 2);
      },
      refused('EPERM', 'VHOST_GET_FEATURES_ARRAY'),
    );
    if (known) {
      assert.equal(words.length, 2);
      assert.equal(words[0], vhost.getFeatures(fd));
      vhost.setFeaturesArray(
        fd,
        words.map(() => 0n),
      );
      throwsRefusal(
        () => vhost.setFeaturesArray(fd, [0n, 1n << 63n]),
        refused('EOPNOTSUPP', 'VHOST_SET_FEATURES_ARRAY'),
      );
    } else {
      throwsRefusal(() => vhost.setFeaturesArray(fd, [0n, 0n]), refused('EPERM', 'VHOST_SET_FEATURES_ARRAY'));
      vhost.setOwner(fd);
      // Its first word counts the others.
      throwsRefusal(() => vhost.getFeaturesArray(fd, 1), refused('ENOTTY', 'VHOST_GET_FEATURES_ARRAY'));
      throwsRefusal(() => vhost.getFeaturesArray(fd, 2), refused('ENOBUFS', 'VHOST_GET_FEATURES_ARRAY'));
    }
  });

  it('VHOST_SET_OWNER, VHOST_RESET_OWNER', () => {
    throwsRefusal(() => vhost.setMemTable(fd, []), refused('EPERM', 'VHOST_SET_MEM_TABLE'));
    throwsRefusal(() => vhost.setVringNum(fd, TX, SIZE), refused('EPERM', 'VHOST_SET_VRING_NUM', TX));
    throwsRefusal(() => vhost.resetOwner(fd), refused('EPERM', 'VHOST_RESET_OWNER'));
    vhost.setOwner(fd);
    throwsRefusal(() => vhost.setOwner(fd), refused('EBUSY', 'VHOST_SET_OWNER'));
    vhost.resetOwner(fd);
    vhost.setOwner(fd);
  });

  it('VHOST_SET_MEM_TABLE', () => {
    vhost.setOwner(fd);
    vhost.setMemTable(fd, []);
    vhost.setMemTable(fd, [
      { ...wholeMemory(), size: BigInt(page) },
      { guestPhysicalAddress: BigInt(page), size: BigInt(page), userAddress: mapping.address + BigInt(page) },
    ]);
    const many = Array.from({ length: 65_535 }, () => wholeMemory());
    throwsRefusal(() => vhost.setMemTable(fd, many), refused('E2BIG', 'VHOST_SET_MEM_TABLE'));
    const empty = { ...wholeMemory(), guestPhysicalAddress: BigInt(page), size: 0n };
    throwsRefusal(() => vhost.setMemTable(fd, [empty]), refused('EFAULT', 'VHOST_SET_MEM_TABLE'));
    // Looked at only for the sake of a queue that has a backend.
    vhost.setMemTable(fd, [{ ...wholeMemory(), userAddress: 1n << 63n }]);
  });

  it('VHOST_SET_LOG_BASE, VHOST_SET_LOG_FD', () => {
    vhost.setOwner(fd);
    vhost.setLogBase(fd, mapping.address);
    vhost.setLogFd(fd, event());
    vhost.setLogFd(fd, -1);
    throwsRefusal(() => vhost.setLogFd(fd, fd), refused('EINVAL', 'VHOST_SET_LOG_FD'));
  });

  it('VHOST_SET_VRING_NUM', () => {
    vhost.setOwner(fd);
    for (const queue of [RX, TX]) vhost.setVringNum(fd, queue, 1024);
    for (const size of [0, 3, 65_536])
      throwsRefusal(() => vhost.setVringNum(fd, TX, size), refused('EINVAL', 'VHOST_SET_VRING_NUM', TX));
    throwsRefusal(() => vhost.setVringNum(fd, 2, SIZE), refused('ENOBUFS', 'VHOST_SET_VRING_NUM', 2));
  });

  it('VHOST_SET_VRING_ADDR', () => {
    vhost.setOwner(fd);
    const addresses = ringAddresses(TX);
    vhost.setVringAddr(fd, TX, addresses);
    throwsRefusal(
      () => vhost.setVringAddr(fd, TX, { ...addresses, availableRing: addresses.availableRing + 1n }),
      refused('EINVAL', 'VHOST_SET_VRING_ADDR', TX),
    );
    throwsRefusal(
      () => vhost.setVringAddr(fd, TX, { ...addresses, flags: 2 }),
      refused('EOPNOTSUPP', 'VHOST_SET_VRING_ADDR', TX),
    );
  });

  it('VHOST_SET_VRING_BASE, VHOST_GET_VRING_BASE', () => {
    vhost.setOwner(fd);
    vhost.setVringBase(fd, TX, 65_535);
    assert.equal(vhost.getVringBase(fd, TX), 65_535);
    assert.equal(vhost.getVringBase(fd, RX), 0);
    throwsRefusal(() => vhost.setVringBase(fd, TX, 65_536), refused('EINVAL', 'VHOST_SET_VRING_BASE', TX));
    throwsRefusal(() => vhost.getVringBase(fd, 7), refused('ENOBUFS', 'VHOST_GET_VRING_BASE', 7));
  });

  it('VHOST_SET_VRING_ENDIAN, VHOST_GET_VRING_ENDIAN', () => {
    vhost.setOwner(fd);
    const set = isKnown(
      () => vhost.setVringEndian(fd, TX, 0),
      refused('ENOTTY', 'VHOST_SET_VRING_ENDIAN', TX),
    );
    const get = isKnown(
      () => assert.equal(vhost.getVringEndian(fd, TX), 0),
      refused('ENOTTY', 'VHOST_GET_VRING_ENDIAN', TX),
    );
    assert.equal(get, set);
    throwsRefusal(() => vhost.setVringEndian(fd, 2, 0), refused('ENOBUFS', 'VHOST_SET_VRING_ENDIAN', 2));
    throwsRefusal(() => vhost.getVringEndian(fd, 2), refused('ENOBUFS', 'VHOST_GET_VRING_ENDIAN', 2));
  });

  it('VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR', () => {
    vhost.setOwner(fd);
    for (const [request, set] of [
      ['VHOST_SET_VRING_KICK', vhost.setVringKick],
      ['VHOST_SET_VRING_CALL', vhost.setVringCall],
      ['VHOST_SET_VRING_ERR', vhost.setVringErr],
    ] as const) {
      set(fd, TX, event());
      set(fd, TX, -1);
      throwsRefusal(() => set(fd, TX, 1_000_000), refused('EBADF', request, TX));
      throwsRefusal(() => set(fd, 2, -1), refused('ENOBUFS', request, 2));
    }
  });

  it('VHOST_SET_VRING_BUSYLOOP_TIMEOUT, VHOST_GET_VRING_BUSYLOOP_TIMEOUT', () => {
    vhost.setOwner(fd);
    assert.equal(vhost.getVringBusyloopTimeout(fd, TX), 0);
    vhost.setVringBusyloopTimeout(fd, TX, 50);
    assert.equal(vhost.getVringBusyloopTimeout(fd, TX), 50);
  });

  it('VHOST_GET_BACKEND_FEATURES, VHOST_SET_BACKEND_FEATURES', () => {
    const offered = vhost.getBackendFeatures(fd);
    assert.equal(offered & VHOST_BACKEND_F_IOTLB_MSG_V2, VHOST_BACKEND_F_IOTLB_MSG_V2);
    vhost.setBackendFeatures(fd, VHOST_BACKEND_F_IOTLB_MSG_V2);
    throwsRefusal(
      () => vhost.setBackendFeatures(fd, 1n << 63n),
      refused('EOPNOTSUPP', 'VHOST_SET_BACKEND_FEATURES'),
    );
  });

  it('VHOST_NEW_WORKER, VHOST_FREE_WORKER, VHOST_ATTACH_VRING_WORKER, VHOST_GET_VRING_WORKER', () => {
    vhost.setOwner(fd);
    // No vhost-net has workers to share out, whether the kernel has them for other devices or not.
    throwsRefusal(() => vhost.newWorker(fd), refused('ENOTTY', 'VHOST_NEW_WORKER'));
    throwsRefusal(() => vhost.freeWorker(fd, 0), refused('ENOTTY', 'VHOST_FREE_WORKER'));
    throwsRefusal(() => vhost.freeWorker(fd, 2), refused('ENOBUFS', 'VHOST_FREE_WORKER'));
    throwsRefusal(
      () => vhost.attachVringWorker(fd, TX, 0),
      refused('ENOTTY', 'VHOST_ATTACH_VRING_WORKER', TX),
    );
    throwsRefusal(() => vhost.getVringWorker(fd, TX), refused('ENOTTY', 'VHOST_GET_VRING_WORKER', TX));
  });

  it('VHOST_SET_FORK_FROM_OWNER, VHOST_GET_FORK_FROM_OWNER', () => {
    const set = isKnown(() => vhost.setForkFromOwner(fd, 1), refused('EPERM', 'VHOST_SET_FORK_FROM_OWNER'));
    const get = isKnown(
      () => assert.equal(vhost.getForkFromOwner(fd), 1),
      refused('EPERM', 'VHOST_GET_FORK_FROM_OWNER'),
    );
    assert.equal(get, set);
    vhost.setOwner(fd);
    // An owner's worker is chosen before there is one; else the flag is taken for the index of a queue.
    throwsRefusal(
      () => vhost.setForkFromOwner(fd, 1),
      refused(set ? 'EBUSY' : 'ENOTTY', 'VHOST_SET_FORK_FROM_OWNER'),
    );
  });

  it('VHOST_NET_SET_BACKEND', async () => {
    setUp();
    const backend = tap('native-dev0');
    throwsRefusal(
      () => vhost.netSetBackend(fd, TX, event()),
      refused('ENOTSOCK', 'VHOST_NET_SET_BACKEND', TX),
    );
    throwsRefusal(() => vhost.netSetBackend(fd, 2, backend), refused('ENOBUFS', 'VHOST_NET_SET_BACKEND', 2));
    for (const queue of [RX, TX]) vhost.netSetBackend(fd, queue, backend);
    throwsRefusal(() => vhost.setVringNum(fd, TX, SIZE), refused('EBUSY', 'VHOST_SET_VRING_NUM', TX));
    vhost.netSetBackend(fd, RX, -1);
    const detached = vhost.netDetachBackend(fd, TX);
    throwsRefusal(() => descriptor.close(fd), { code: 'EBUSY', syscall: 'close' });
    assert.equal(await detached, undefined);
    vhost.setVringNum(fd, TX, SIZE);
    await assert.rejects(vhost.netDetachBackend(fd, 2), (error) =>
      assertRefusal(error, refused('ENOBUFS', 'VHOST_NET_SET_BACKEND', 2)),
    );
  });

  it('VHOST_NET_SET_BACKEND refuses a queue without a memory table', () => {
    vhost.setOwner(fd);
    throwsRefusal(() => vhost.netSetBackend(fd, TX, -1), refused('EFAULT', 'VHOST_NET_SET_BACKEND', TX));
  });

  it('carries a frame from the ring to a packet socket, and calls back through the eventfd', async () => {
    setUp();
    const backend = tap('native-dev1');
    const network = netdev.open();
    const socket = packet.open();
    open.push(network, socket);
    netdev.setFlags(network, 'native-dev1', netdev.getFlags(network, 'native-dev1') | 1);
    packet.bind(socket, netdev.getIndex(network, 'native-dev1'), 0x88b5);
    const kick = event();
    const call = event();
    vhost.setVringKick(fd, TX, kick);
    vhost.setVringCall(fd, TX, call);
    vhost.netSetBackend(fd, TX, backend);

    const FRAME = 32 * page;
    const frame = new Uint8Array(60).map((_, i) => i);
    frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    new Uint8Array(mapping.buffer).set(frame, FRAME + 12);
    const ring = new DataView(mapping.buffer, TX * page, page);
    ring.setBigUint64(0, BigInt(FRAME), true);
    ring.setUint32(8, 12 + frame.length, true);
    ring.setUint16(AVAILABLE + 4, 0, true);
    Atomics.store(new Uint16Array(mapping.buffer, TX * page + AVAILABLE, 2), 1, 1);

    let watch: Poller | undefined;
    const called = new Promise<number>((resolve) => {
      watch = poller.watchEventfd(call, resolve);
    });
    eventfd.signal(kick);
    assert.equal(await called, 1);
    watch?.close();
    assert.equal(ring.getUint16(USED + 2, true), 1, 'used index');
    assert.equal(ring.getUint32(USED + 4, true), 0, 'head');

    const received = new Uint8Array(2048);
    let size = 0;
    const arrived = new Promise<void>((resolve) => {
      const readable = poller.watchReadable(socket, () => {
        size = descriptor.read(socket, received);
        readable.close();
        resolve();
      });
    });
    await arrived;
    assert.deepEqual(received.subarray(0, size), frame);
    await vhost.netDetachBackend(fd, TX);
    assert.equal(vhost.getVringBase(fd, TX), 1);
  });

  it('lets go of a running device when its Worker is terminated', async () => {
    const program = new URL('../unit/native/programs/device-worker.js', import.meta.url);
    const run = async (ending: string) => {
      const worker = new Worker(program, { workerData: { ending } });
      const ended = once(worker, 'exit');
      await once(worker, 'message');
      await worker.terminate();
      await ended;
    };
    await run('terminated');
    const before = { descriptors: openDescriptors().size, threads: threadCount() };
    for (let i = 0; i < 4; i++) await run(i % 2 === 0 ? 'terminated' : 'detaching');
    assert.deepEqual({ descriptors: openDescriptors().size, threads: threadCount() }, before);
    assert.equal(memfdMappings('device-worker'), 0);
  });

  it('lets the process end while a device is running', async () => {
    assert.equal(await resultOf('device-worker'), 'running');
  });
});
