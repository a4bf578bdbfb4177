import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { IFF_DETACH_QUEUE } from '../../lib/abi/if-tun.js';
import { GuestMemory, hostKernel, KernelVhost, type VhostCapabilities } from '../../lib/index.js';
import { ControlDevice, refusalOf, SIZE } from '../support/control-device.js';
import { Namespace } from '../support/device-namespace.js';
import { foreignSockets } from '../support/foreign-sockets.js';

const RX = 0;
const TX = 1;
const NONE = -1;
const VERSION_1 = 1n << 32n;
const EVENT_IDX = 1n << 29n;
const LOG_ALL = 1n << 26n;
const CSUM = 1n;
/** No address of user space: access_ok() refuses it. */
const OUT_OF_REACH = 1n << 63n;

describe('control plane: each request to the real device, and each refusal', function () {
  this.timeout(300_000);
  let can: VhostCapabilities;
  let namespace: Namespace;
  let device: ControlDevice<KernelVhost>;
  let vhost: KernelVhost;

  before(() => {
    can = KernelVhost.capabilities();
    namespace = Namespace.add();
  });
  after(() => namespace.remove());
  beforeEach(() => {
    device = new ControlDevice(KernelVhost.open());
    vhost = device.vhost;
  });
  afterEach(() => device.close());

  /** That a call is refused like this, and that the error says why. */
  function refuses(call: () => unknown, code: string, request: string, queue?: number): void {
    assert.throws(call, (error) => {
      const refused = error as Record<string, unknown>;
      assert.deepEqual([refused.code, refused.request, refused.queue], [code, request, queue]);
      assert.ok('hint' in refused || code === 'EBADF', String(error));
      return true;
    });
  }

  /** That a request is not known here, and what the kernel said to it. */
  function lacks(call: () => unknown, cause: RegExp, request: string, queue?: number): void {
    assert.throws(call, (error) => {
      const refused = error as Record<string, unknown> & { readonly cause: Record<string, unknown> };
      assert.deepEqual(
        [refused.code, refused.request, refused.queue],
        ['ERR_VHOST_UNSUPPORTED', request, queue],
      );
      assert.deepEqual([refused.cause.request, refused.cause.queue], [request, queue]);
      assert.match(String(refused.cause.code), cause);
      return true;
    });
  }

  /** A queue that runs, on a tap that is down: what is sent there completes. */
  function start(queue: number): void {
    vhost.setBackend(queue, device.tap(namespace, `${queue}-%d`).fd);
  }

  describe('capabilities', () => {
    it('agree with what each request answers, and leave nothing open', () => {
      assert.equal(can.path, '/dev/vhost-net');
      assert.equal(BigInt.asUintN(64, can.features), vhost.getFeatures());
      assert.ok(can.featureNames.includes('VIRTIO_F_VERSION_1'));
      assert.equal(can.backendFeatures, vhost.getBackendFeatures());
      assert.deepEqual(can.backendFeatureNames, ['VHOST_BACKEND_F_IOTLB_MSG_V2']);
      assert.equal(refusalOf(() => vhost.getFeaturesArray()) === 'accepted', can.featuresArray);
      assert.equal(refusalOf(() => vhost.getForkFromOwner()) === 'accepted', can.forkFromOwner !== undefined);
      vhost.setOwner();
      assert.equal(refusalOf(() => vhost.getVringBusyloopTimeout(RX)) === 'accepted', can.busyPolling);
      assert.equal(refusalOf(() => vhost.getVringEndian(RX)) === 'accepted', can.vringEndian);
      assert.equal(refusalOf(() => vhost.getVringWorker(RX)) === 'accepted', can.workers);
      const limit = readFileSync('/sys/module/vhost/parameters/max_mem_regions', 'utf8');
      assert.equal(can.maxMemRegions, Number(limit));
      const zeroCopy = readFileSync('/sys/module/vhost_net/parameters/experimental_zcopytx', 'utf8').trim();
      assert.equal(can.zeroCopy, zeroCopy !== '0');
    });
  });

  describe('VHOST_GET_FEATURES, VHOST_SET_FEATURES', () => {
    it('agree on what is offered, with and without an owner', () => {
      for (const owned of [false, true]) {
        if (owned) vhost.setOwner();
        vhost.setFeatures(vhost.getFeatures() & (VERSION_1 | EVENT_IDX));
        vhost.setFeatures(0n);
      }
    });

    it('refuse a bit that is not offered, and a log out of reach while a queue runs', () => {
      refuses(() => vhost.setFeatures(CSUM), 'EOPNOTSUPP', 'VHOST_SET_FEATURES');
      refuses(() => vhost.setFeatures(1n << 63n), 'EOPNOTSUPP', 'VHOST_SET_FEATURES');
      device.setUp();
      start(TX);
      vhost.setLogBase(OUT_OF_REACH);
      refuses(() => vhost.setFeatures(VERSION_1 | LOG_ALL), 'EFAULT', 'VHOST_SET_FEATURES');
      vhost.setLogBase(device.page(40));
      vhost.setFeatures(VERSION_1 | LOG_ALL);
      // Of a queue that does not run, nothing is looked at.
      hostKernel().vhost.setVringAddr(vhost.fd, RX, { ...device.ring(RX), usedRing: OUT_OF_REACH });
      vhost.setFeatures(VERSION_1);
      vhost.setFeatures(VERSION_1 | LOG_ALL);
    });
  });

  describe('VHOST_GET_FEATURES_ARRAY, VHOST_SET_FEATURES_ARRAY', () => {
    it('agree on words of features, or are known to be lacking, with an owner and without', () => {
      for (const owned of [false, true]) {
        if (owned) vhost.setOwner();
        if (can.featuresArray) {
          const words = vhost.getFeaturesArray();
          assert.equal(words[0], vhost.getFeatures());
          vhost.setFeaturesArray([VERSION_1, 0n]);
          refuses(() => vhost.setFeaturesArray([0n, 1n << 63n]), 'EOPNOTSUPP', 'VHOST_SET_FEATURES_ARRAY');
        } else {
          const request = 'VHOST_SET_FEATURES_ARRAY';
          // The count of words is taken for a queue's index.
          const [few, two] = owned ? [/^ENOTTY$/, /^ENOBUFS$/] : [/^EPERM$/, /^EPERM$/];
          for (const words of [0, 1, 2])
            lacks(() => vhost.getFeaturesArray(words), two, 'VHOST_GET_FEATURES_ARRAY');
          for (const words of [[], [0n]]) lacks(() => vhost.setFeaturesArray(words), few, request);
          lacks(() => vhost.setFeaturesArray([0n, 0n]), two, request);
        }
      }
    });
  });

  describe('VHOST_GET_BACKEND_FEATURES, VHOST_SET_BACKEND_FEATURES', () => {
    it('agree on what is offered, and refuse what is not', () => {
      const offered = vhost.getBackendFeatures();
      vhost.setBackendFeatures(offered);
      vhost.setBackendFeatures(0n);
      refuses(() => vhost.setBackendFeatures(1n), 'EOPNOTSUPP', 'VHOST_SET_BACKEND_FEATURES');
    });
  });

  describe('VHOST_GET_FORK_FROM_OWNER, VHOST_SET_FORK_FROM_OWNER', () => {
    it('choose before there is an owner, or are known to be lacking', () => {
      if (can.forkFromOwner === undefined) {
        for (const owned of [false, true]) {
          if (owned) vhost.setOwner();
          // Of an index of 32 bits the argument is the lowest 8; the rest is whatever lies behind it.
          const cause = owned ? /^(ENOTTY|ENOBUFS)$/ : /^EPERM$/;
          lacks(() => vhost.getForkFromOwner(), cause, 'VHOST_GET_FORK_FROM_OWNER');
          lacks(() => vhost.setForkFromOwner(1), cause, 'VHOST_SET_FORK_FROM_OWNER');
        }
        return;
      }
      assert.equal(vhost.getForkFromOwner(), can.forkFromOwner);
      for (const value of [0, 1]) {
        vhost.setForkFromOwner(value);
        assert.equal(vhost.getForkFromOwner(), value);
      }
      refuses(() => vhost.setForkFromOwner(2), 'EINVAL', 'VHOST_SET_FORK_FROM_OWNER');
      vhost.setOwner();
      refuses(() => vhost.setForkFromOwner(1), 'EBUSY', 'VHOST_SET_FORK_FROM_OWNER');
      assert.equal(vhost.getForkFromOwner(), 1);
    });
  });

  describe('VHOST_SET_OWNER, VHOST_RESET_OWNER', () => {
    it('take the device once, give it up and take it again', () => {
      refuses(() => vhost.resetOwner(), 'EPERM', 'VHOST_RESET_OWNER');
      vhost.setOwner();
      refuses(() => vhost.setOwner(), 'EBUSY', 'VHOST_SET_OWNER');
      vhost.resetOwner();
      refuses(() => vhost.resetOwner(), 'EPERM', 'VHOST_RESET_OWNER');
      vhost.setOwner();
    });

    it('refuse to whom no thread is left the worker, where that is a task of the owner', async () => {
      const program = new URL('./programs/owner-at-limit.js', import.meta.url);
      const other = new ControlDevice(KernelVhost.open());
      other.vhost.setOwner();
      const isTask = other.vhost.worker()!.kind === 'task';
      await other.close();
      const { stdout, stderr } = spawnSync(process.execPath, [program.pathname], {
        stdio: ['ignore', 'pipe', 'pipe', vhost.fd],
        encoding: 'utf8',
      });
      assert.equal(stderr, '');
      // Linux before 6.14 had one error for all that kept a worker from starting.
      assert.match(stdout, isTask ? /^(EAGAIN|ENOMEM) VHOST_SET_OWNER$/m : /^accepted$/m);
    });

    it('refuse every other request without an owner', () => {
      const requests: [() => unknown, string, number?][] = [
        [() => vhost.setMemTable(device.memory), 'VHOST_SET_MEM_TABLE'],
        [() => vhost.setLogBase(0n), 'VHOST_SET_LOG_BASE'],
        [() => vhost.setLogFd(NONE), 'VHOST_SET_LOG_FD'],
        [() => vhost.setVringNum(TX, SIZE), 'VHOST_SET_VRING_NUM', TX],
        [() => vhost.setVringBase(TX, 0), 'VHOST_SET_VRING_BASE', TX],
        [() => vhost.getVringBase(TX), 'VHOST_GET_VRING_BASE', TX],
        [() => vhost.setVringAddr(TX, device.ring(TX)), 'VHOST_SET_VRING_ADDR', TX],
        [() => vhost.setVringEndian(TX, 0), 'VHOST_SET_VRING_ENDIAN', TX],
        [() => vhost.getVringEndian(TX), 'VHOST_GET_VRING_ENDIAN', TX],
        [() => vhost.setVringKick(TX, NONE), 'VHOST_SET_VRING_KICK', TX],
        [() => vhost.setVringCall(TX, NONE), 'VHOST_SET_VRING_CALL', TX],
        [() => vhost.setVringErr(TX, NONE), 'VHOST_SET_VRING_ERR', TX],
        [() => vhost.setVringBusyloopTimeout(TX, 0), 'VHOST_SET_VRING_BUSYLOOP_TIMEOUT', TX],
        [() => vhost.getVringBusyloopTimeout(TX), 'VHOST_GET_VRING_BUSYLOOP_TIMEOUT', TX],
        [() => vhost.setBackend(TX, NONE), 'VHOST_NET_SET_BACKEND', TX],
        [() => vhost.newWorker(), 'VHOST_NEW_WORKER'],
        [() => vhost.freeWorker(0), 'VHOST_FREE_WORKER'],
        [() => vhost.attachVringWorker(TX, 0), 'VHOST_ATTACH_VRING_WORKER', TX],
        [() => vhost.getVringWorker(TX), 'VHOST_GET_VRING_WORKER', TX],
      ];
      for (const [call, request, queue] of requests) refuses(call, 'EPERM', request, queue);
    });

    it('refuse a child process, which is not the owner', () => {
      vhost.setOwner();
      const program = new URL('./programs/foreign-owner.js', import.meta.url);
      const { stdout, stderr } = spawnSync(process.execPath, [program.pathname], {
        stdio: ['ignore', 'pipe', 'pipe', vhost.fd],
        encoding: 'utf8',
      });
      assert.equal(stderr, '');
      assert.deepEqual(JSON.parse(stdout), [
        'EBUSY VHOST_SET_OWNER',
        'EPERM VHOST_RESET_OWNER',
        'EPERM VHOST_SET_MEM_TABLE',
        'EPERM VHOST_SET_LOG_BASE',
        'EPERM VHOST_SET_LOG_FD',
        'EPERM VHOST_SET_VRING_NUM',
        'EPERM VHOST_GET_VRING_BASE',
        'EPERM VHOST_SET_VRING_KICK',
        'EPERM VHOST_GET_VRING_BUSYLOOP_TIMEOUT',
        'EPERM VHOST_NET_SET_BACKEND',
        'accepted',
      ]);
    });

    it('forget the rings, the memory and what was agreed on', () => {
      device.setUp();
      vhost.setFeatures(VERSION_1 | LOG_ALL);
      vhost.setLogBase(device.page(40));
      vhost.setVringBusyloopTimeout(TX, 50);
      start(TX);
      vhost.resetOwner();
      vhost.setOwner();
      assert.equal(vhost.getVringBusyloopTimeout(TX), 0);
      const tap = device.tap(namespace, 'f%d');
      refuses(() => vhost.setBackend(TX, tap.fd), 'EFAULT', 'VHOST_NET_SET_BACKEND', TX);
      vhost.setMemTable(device.memory);
      device.place();
      // Still agreed on, VHOST_F_LOG_ALL would refuse a queue whose log is out of reach.
      vhost.setLogBase(OUT_OF_REACH);
      start(TX);
    });
  });

  describe('VHOST_SET_MEM_TABLE', () => {
    function memoryOf(regions: number): GuestMemory {
      const memory = new GuestMemory(hostKernel());
      const page = 4096n;
      memory.table = () =>
        Array.from({ length: regions }, (_, i) => ({
          guestPhysicalAddress: BigInt(i) * page,
          size: page,
          userAddress: device.page(i % 64),
        }));
      return memory;
    }

    it('takes as many regions as the kernel does, and no region more', () => {
      vhost.setOwner();
      vhost.setMemTable(memoryOf(0));
      vhost.setMemTable(memoryOf(can.maxMemRegions));
      const tooMany = memoryOf(can.maxMemRegions + 1);
      assert.throws(() => vhost.setMemTable(tooMany), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: new RegExp(
          `^memory must be made of at most the ${can.maxMemRegions} regions of /sys/module/`,
        ),
      });
      const asked = () => hostKernel().vhost.setMemTable(vhost.fd, tooMany.table());
      assert.equal(refusalOf(asked), 'E2BIG VHOST_SET_MEM_TABLE');
    });

    it('refuses an empty region, and user addresses out of reach while a queue runs', () => {
      const memory = new GuestMemory(hostKernel());
      const [region] = device.memory.table();
      vhost.setOwner();
      memory.table = () => [{ ...region!, size: 0n }];
      refuses(() => vhost.setMemTable(memory), 'EFAULT', 'VHOST_SET_MEM_TABLE');
      memory.table = () => [{ ...region!, userAddress: OUT_OF_REACH }];
      vhost.setMemTable(memory);
      vhost.resetOwner();
      device.setUp();
      start(TX);
      memory.table = () => [
        region!,
        {
          guestPhysicalAddress: region!.guestPhysicalAddress + region!.size,
          size: 4096n,
          userAddress: OUT_OF_REACH,
        },
      ];
      refuses(() => vhost.setMemTable(memory), 'EFAULT', 'VHOST_SET_MEM_TABLE');
    });

    it('is refused, which the kernel would not, where regions overlap or a running ring is outside', () => {
      const memory = new GuestMemory(hostKernel());
      const [region] = device.memory.table();
      memory.table = () => [region!, region!];
      device.setUp();
      assert.equal(
        refusalOf(() => vhost.setMemTable(memory)),
        'ERR_VHOST_OUT_OF_RANGE VHOST_SET_MEM_TABLE',
      );
      start(TX);
      assert.equal(
        refusalOf(() => vhost.setMemTable(memoryOf(1))),
        'ERR_VHOST_OUT_OF_RANGE VHOST_SET_MEM_TABLE',
      );
      hostKernel().vhost.setMemTable(vhost.fd, [region!, region!]);
      hostKernel().vhost.setMemTable(vhost.fd, []);
    });
  });

  describe('VHOST_SET_LOG_BASE, VHOST_SET_LOG_FD', () => {
    it('have the pages marked that the device writes, and told of', async () => {
      device.setUp();
      const log = device.eventfd();
      const kick = device.eventfd();
      vhost.setLogBase(device.page(40));
      vhost.setLogFd(log);
      vhost.setVringKick(TX, kick);
      vhost.setVringAddr(TX, { ...device.ring(TX), flags: 1, log: 0x5000n });
      vhost.setFeatures(VERSION_1 | LOG_ALL);
      start(TX);
      device.publish(0);
      device.signal(kick);
      assert.ok((await device.signalled(log)) > 0);
      assert.equal(device.region.bytes[40 * 4096], 1 << 5);
      vhost.setLogFd(NONE);
    });

    it('refuse what is no eventfd, and a log out of reach that is written to', () => {
      device.setUp();
      refuses(() => vhost.setLogFd(1_000_000), 'EBADF', 'VHOST_SET_LOG_FD');
      refuses(() => vhost.setLogFd(vhost.fd), 'EINVAL', 'VHOST_SET_LOG_FD');
      vhost.setLogBase(device.page(40));
      vhost.setFeatures(VERSION_1 | LOG_ALL);
      start(TX);
      refuses(() => vhost.setLogBase(OUT_OF_REACH), 'EFAULT', 'VHOST_SET_LOG_BASE');
    });
  });

  describe('VHOST_SET_VRING_NUM', () => {
    it('takes powers of two', () => {
      vhost.setOwner();
      for (let size = 1; size <= 32_768; size *= 2) vhost.setVringNum(TX, size);
    });

    it('refuses other sizes, other queues, and a queue with a backend', () => {
      device.setUp();
      for (const size of [0, 3, 65_535, 65_536])
        refuses(() => vhost.setVringNum(TX, size), 'EINVAL', 'VHOST_SET_VRING_NUM', TX);
      refuses(() => vhost.setVringNum(2, SIZE), 'ENOBUFS', 'VHOST_SET_VRING_NUM', 2);
      start(TX);
      refuses(() => vhost.setVringNum(TX, SIZE), 'EBUSY', 'VHOST_SET_VRING_NUM', TX);
      vhost.setVringNum(RX, SIZE);
    });
  });

  describe('VHOST_SET_VRING_BASE, VHOST_GET_VRING_BASE', () => {
    it('move the index at which the device begins', () => {
      vhost.setOwner();
      vhost.setVringBase(TX, 65_535);
      assert.deepEqual([vhost.getVringBase(RX), vhost.getVringBase(TX)], [0, 65_535]);
    });

    it('refuse more than 16 bits, other queues, and to set it with a backend', () => {
      device.setUp();
      refuses(() => vhost.setVringBase(TX, 65_536), 'EINVAL', 'VHOST_SET_VRING_BASE', TX);
      refuses(() => vhost.setVringBase(2, 0), 'ENOBUFS', 'VHOST_SET_VRING_BASE', 2);
      refuses(() => vhost.getVringBase(2), 'ENOBUFS', 'VHOST_GET_VRING_BASE', 2);
      start(TX);
      refuses(() => vhost.setVringBase(TX, 0), 'EBUSY', 'VHOST_SET_VRING_BASE', TX);
      assert.equal(vhost.getVringBase(TX), 0);
    });
  });

  describe('VHOST_SET_VRING_ADDR', () => {
    const request = 'VHOST_SET_VRING_ADDR';

    it('takes a ring before and while it runs', () => {
      device.setUp();
      start(TX);
      vhost.setVringAddr(TX, device.ring(TX));
    });

    it('refuses parts off their alignment, other flags and other queues', () => {
      device.setUp();
      const ring = device.ring(TX);
      const set = (change: Partial<typeof ring>) => () => vhost.setVringAddr(TX, { ...ring, ...change });
      refuses(set({ availableRing: ring.availableRing + 1n }), 'EINVAL', request, TX);
      refuses(set({ usedRing: ring.usedRing + 2n }), 'EINVAL', request, TX);
      refuses(set({ flags: 1, log: 2n }), 'EINVAL', request, TX);
      refuses(set({ flags: 2 }), 'EOPNOTSUPP', request, TX);
      refuses(() => vhost.setVringAddr(2, ring), 'ENOBUFS', request, 2);
    });

    it('refuses a part out of reach while the queue runs', () => {
      device.setUp();
      start(TX);
      // What the library would refuse before: asked of the kernel itself.
      const { vhost: kernel } = hostKernel();
      refuses(
        () => {
          try {
            kernel.setVringAddr(vhost.fd, TX, { ...device.ring(TX), usedRing: OUT_OF_REACH });
          } catch (error) {
            throw Object.assign(error as Error, { hint: 'none without KernelVhost' });
          }
        },
        'EINVAL',
        request,
        TX,
      );
    });

    it('is refused, which the kernel would not, with the table unaligned or a part outside the memory', () => {
      device.setUp();
      const ring = device.ring(TX);
      const changes = [
        { descriptorTable: ring.descriptorTable + 8n },
        { descriptorTable: device.page(64) },
        { availableRing: device.page(64) - 2n },
        { usedRing: device.page(0) - 4096n },
      ];
      for (const change of changes) {
        const addresses = { ...ring, ...change };
        assert.equal(
          refusalOf(() => vhost.setVringAddr(TX, addresses)),
          'ERR_VHOST_OUT_OF_RANGE VHOST_SET_VRING_ADDR',
        );
        hostKernel().vhost.setVringAddr(vhost.fd, TX, addresses);
      }
    });
  });

  describe('VHOST_SET_VRING_ENDIAN, VHOST_GET_VRING_ENDIAN', () => {
    it('choose the byte order of a legacy ring, or are known to be lacking', () => {
      device.setUp();
      if (can.vringEndian) {
        for (const endian of [1, 0]) {
          vhost.setVringEndian(TX, endian);
          assert.equal(vhost.getVringEndian(TX), endian);
        }
        assert.equal(
          refusalOf(() => vhost.setVringEndian(TX, 2)),
          'EINVAL VHOST_SET_VRING_ENDIAN',
        );
        start(TX);
        refuses(() => vhost.setVringEndian(TX, 0), 'EBUSY', 'VHOST_SET_VRING_ENDIAN', TX);
      } else {
        lacks(() => vhost.setVringEndian(TX, 0), /^ENOTTY$/, 'VHOST_SET_VRING_ENDIAN', TX);
        lacks(() => vhost.getVringEndian(TX), /^ENOTTY$/, 'VHOST_GET_VRING_ENDIAN', TX);
      }
      refuses(() => vhost.setVringEndian(2, 0), 'ENOBUFS', 'VHOST_SET_VRING_ENDIAN', 2);
      refuses(() => vhost.getVringEndian(2), 'ENOBUFS', 'VHOST_GET_VRING_ENDIAN', 2);
    });
  });

  describe('VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR', () => {
    it('wake the device, the driver, and the driver for an error', async () => {
      device.setUp();
      const [kick, call, error] = [device.eventfd(), device.eventfd(), device.eventfd()];
      vhost.setVringKick(TX, kick);
      vhost.setVringCall(TX, call);
      vhost.setVringErr(TX, error);
      start(TX);
      device.publish(0);
      device.signal(kick);
      assert.equal(await device.signalled(call), 1);
      assert.equal(device.used, 1);
      device.publish(SIZE);
      device.signal(kick);
      assert.equal(await device.signalled(error), 1);
      assert.equal(device.used, 1);
      assert.equal(vhost.getVringBase(TX), 1);
    });

    it('take -1 for none, and refuse what is no eventfd and other queues', () => {
      vhost.setOwner();
      for (const [name, set] of [
        ['KICK', (queue: number, fd: number) => vhost.setVringKick(queue, fd)],
        ['CALL', (queue: number, fd: number) => vhost.setVringCall(queue, fd)],
        ['ERR', (queue: number, fd: number) => vhost.setVringErr(queue, fd)],
      ] as const) {
        const request = `VHOST_SET_VRING_${name}`;
        set(TX, device.eventfd());
        set(TX, NONE);
        refuses(() => set(TX, 1_000_000), 'EBADF', request, TX);
        refuses(() => set(TX, vhost.fd), 'EINVAL', request, TX);
        refuses(() => set(2, NONE), 'ENOBUFS', request, 2);
      }
    });
  });

  describe('VHOST_SET_VRING_BUSYLOOP_TIMEOUT, VHOST_GET_VRING_BUSYLOOP_TIMEOUT', () => {
    it('take microseconds at any time, for each queue its own', () => {
      device.setUp();
      start(TX);
      vhost.setVringBusyloopTimeout(TX, 0xffff_ffff);
      assert.equal(vhost.getVringBusyloopTimeout(TX), 0xffff_ffff);
      vhost.setVringBusyloopTimeout(TX, 0);
      vhost.setVringBusyloopTimeout(RX, 50);
      assert.deepEqual([vhost.getVringBusyloopTimeout(RX), vhost.getVringBusyloopTimeout(TX)], [50, 0]);
    });

    it('refuse other queues', () => {
      vhost.setOwner();
      refuses(() => vhost.setVringBusyloopTimeout(2, 0), 'ENOBUFS', 'VHOST_SET_VRING_BUSYLOOP_TIMEOUT', 2);
      refuses(() => vhost.getVringBusyloopTimeout(2), 'ENOBUFS', 'VHOST_GET_VRING_BUSYLOOP_TIMEOUT', 2);
    });
  });

  describe('VHOST_NEW_WORKER, VHOST_FREE_WORKER, VHOST_ATTACH_VRING_WORKER, VHOST_GET_VRING_WORKER', () => {
    it('are lacking on a net device, for any queue and any worker', () => {
      vhost.setOwner();
      lacks(() => vhost.newWorker(), /^ENOTTY$/, 'VHOST_NEW_WORKER');
      for (const n of [0, 1, 2]) {
        // The worker's id, like a queue's index, is the first word of the argument.
        const cause = n < 2 ? /^ENOTTY$/ : /^ENOBUFS$/;
        lacks(() => vhost.freeWorker(n), cause, 'VHOST_FREE_WORKER');
        lacks(() => vhost.attachVringWorker(n, 0), cause, 'VHOST_ATTACH_VRING_WORKER', n);
        lacks(() => vhost.getVringWorker(n), cause, 'VHOST_GET_VRING_WORKER', n);
      }
    });
  });

  describe('VHOST_NET_SET_BACKEND', () => {
    const request = 'VHOST_NET_SET_BACKEND';

    it('starts queues, again and on another backend while they run, and stops them', async () => {
      device.setUp();
      const [tap, other] = [device.tap(namespace, 'a%d'), device.tap(namespace, 'b%d')];
      for (const queue of [RX, TX]) {
        vhost.setBackend(queue, tap.fd);
        vhost.setBackend(queue, tap.fd);
        vhost.setBackend(queue, other.fd);
        await vhost.detachBackend(queue);
        await vhost.detachBackend(queue);
        vhost.setBackend(queue, NONE);
      }
    });

    it('takes a raw packet socket', () => {
      device.setUp();
      vhost.setBackend(TX, device.own(hostKernel().packet.open()));
    });

    it('refuses other queues', async () => {
      device.setUp();
      refuses(() => vhost.setBackend(2, NONE), 'ENOBUFS', request, 2);
      await assert.rejects(vhost.detachBackend(2), { code: 'ENOBUFS', request, queue: 2 });
    });

    it('refuses what is no socket that carries frames', () => {
      device.setUp();
      for (const fd of [1_000_000, device.eventfd(), vhost.fd, device.own(hostKernel().netdev.open())])
        refuses(() => vhost.setBackend(TX, fd), 'ENOTSOCK', request, TX);
    });

    it('refuses sockets of another family or type', async () => {
      device.setUp();
      const sockets = await foreignSockets(
        hostKernel(),
        'socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)',
        'socket(AF_PACKET, SOCK_DGRAM)',
        'socket(AF_INET, SOCK_DGRAM)',
      );
      assert.equal(sockets.length, 3);
      for (const fd of sockets) refuses(() => vhost.setBackend(TX, device.own(fd)), 'ENOTSOCK', request, TX);
    });

    it('refuses a tap without an interface, or whose interface is gone', () => {
      device.setUp();
      refuses(
        () => vhost.setBackend(TX, device.own(hostKernel().tun.open('/dev/net/tun'))),
        'EINVAL',
        request,
        TX,
      );
      const { tun } = hostKernel();
      const queue = device.tap(namespace, 'out', { multiQueue: true });
      // A queue that was only taken out of a tap still has its interface, and is taken.
      tun.setQueue(queue.fd, IFF_DETACH_QUEUE);
      vhost.setBackend(TX, queue.fd);
      vhost.setBackend(TX, NONE);
      const tap = device.tap(namespace, 'gone');
      namespace.ip('link', 'del', 'gone');
      refuses(() => vhost.setBackend(TX, tap.fd), 'EINVAL', request, TX);
    });

    it('refuses a queue, and to stop it, without a memory table', async () => {
      vhost.setOwner();
      device.place();
      const tap = device.tap(namespace, 'c%d');
      refuses(() => vhost.setBackend(TX, tap.fd), 'EFAULT', request, TX);
      refuses(() => vhost.setBackend(TX, NONE), 'EFAULT', request, TX);
      await assert.rejects(vhost.detachBackend(TX), { code: 'EFAULT', request, queue: TX });
    });

    it('refuses a ring or a log out of reach', () => {
      device.setUp();
      const tap = device.tap(namespace, 'd%d');
      for (const usedRing of [OUT_OF_REACH, 0x1000n]) {
        // What the library would refuse before: told to the kernel behind its back.
        hostKernel().vhost.setVringAddr(vhost.fd, TX, { ...device.ring(TX), usedRing });
        refuses(() => vhost.setBackend(TX, tap.fd), 'EFAULT', request, TX);
      }
      vhost.setVringAddr(TX, device.ring(TX));
      vhost.setFeatures(VERSION_1 | LOG_ALL);
      vhost.setLogBase(OUT_OF_REACH);
      refuses(() => vhost.setBackend(TX, tap.fd), 'EFAULT', request, TX);
      vhost.setLogBase(device.page(40));
      vhost.setBackend(TX, tap.fd);
    });

    it('is refused, which the kernel would not, where the ring grew out of the memory', () => {
      device.setUp();
      vhost.setVringNum(TX, 32_768);
      const tap = device.tap(namespace, 'e%d');
      assert.equal(
        refusalOf(() => vhost.setBackend(TX, tap.fd)),
        'ERR_VHOST_OUT_OF_RANGE VHOST_NET_SET_BACKEND',
      );
    });
  });

  it('a Worker thread of the owner is an owner', async () => {
    vhost.setOwner();
    const worker = new Worker(
      `import(${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)}).then(({ hostKernel }) =>
         require('node:worker_threads').parentPort.postMessage(hostKernel().vhost.getVringBase(${vhost.fd}, 0)))`,
      { eval: true },
    );
    const base = await new Promise((resolve, reject) =>
      worker.once('message', resolve).once('error', reject),
    );
    await worker.terminate();
    assert.equal(base, 0);
  });
});
