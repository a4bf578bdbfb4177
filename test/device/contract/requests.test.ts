import assert from 'node:assert/strict';
import { GuestMemory, hostKernel, type LogFile, type Vhost } from '../../../lib/index.js';
import { ControlDevice, SIZE } from '../../support/control-device.js';
import { Namespace } from '../../support/device-namespace.js';
import { differs } from '../../support/differences.js';
import { openVhost } from '../../support/test-device.js';

const RX = 0;
const TX = 1;
const NONE = -1;
const VERSION_1 = 1n << 32n;
const LOG_ALL = 1n << 26n;
const CSUM = 1n;
const ACCESS_PLATFORM = 1n << 33n;
const IN_ORDER = 1n << 35n;

let namespace: Namespace;

interface Step {
  readonly call: (device: ControlDevice<Vhost>) => unknown;
  /** `code request queue` of what it is refused with. */
  readonly answer: string;
}

const taken = (call: Step['call'], answer = 'accepted'): Step => ({ call, answer });
const refused = (answer: string, call: Step['call']): Step => ({ call, answer });

/** One request after another, on a device of its own, and how each ends. */
const SEQUENCES: Record<string, readonly Step[]> = {
  'an owner comes first': [
    taken(({ vhost }) => vhost.getFeatures()),
    taken(({ vhost }) => vhost.setFeatures(0n)),
    refused('EPERM VHOST_SET_MEM_TABLE', ({ vhost, memory }) => vhost.setMemTable(memory)),
    refused('EPERM VHOST_SET_LOG_FD', ({ vhost }) => vhost.setLogFd(NONE)),
    refused('EPERM VHOST_SET_VRING_NUM 1', ({ vhost }) => vhost.setVringNum(TX, SIZE)),
    refused('EPERM VHOST_SET_VRING_BASE 1', ({ vhost }) => vhost.setVringBase(TX, 0)),
    refused('EPERM VHOST_GET_VRING_BASE 1', ({ vhost }) => vhost.getVringBase(TX)),
    refused('EPERM VHOST_SET_VRING_ADDR 1', (device) => device.vhost.setVringAddr(TX, device.ring(TX))),
    refused('EPERM VHOST_SET_VRING_KICK 1', ({ vhost }) => vhost.setVringKick(TX, NONE)),
    refused('EPERM VHOST_SET_VRING_CALL 1', ({ vhost }) => vhost.setVringCall(TX, NONE)),
    refused('EPERM VHOST_SET_VRING_ERR 1', ({ vhost }) => vhost.setVringErr(TX, NONE)),
    refused('EPERM VHOST_SET_VRING_BUSYLOOP_TIMEOUT 1', ({ vhost }) => vhost.setVringBusyloopTimeout(TX, 0)),
    refused('EPERM VHOST_NET_SET_BACKEND 1', ({ vhost }) => vhost.setBackend(TX, NONE)),
    refused('EPERM VHOST_NET_SET_BACKEND 1', ({ vhost }) => vhost.detachBackend(TX)),
    taken(({ vhost }) => vhost.setOwner()),
    refused('EBUSY VHOST_SET_OWNER', ({ vhost }) => vhost.setOwner()),
  ],
  'features are those offered, and a log comes before what it is for': [
    refused('EOPNOTSUPP VHOST_SET_FEATURES', ({ vhost }) => vhost.setFeatures(CSUM)),
    refused('EOPNOTSUPP VHOST_SET_FEATURES', ({ vhost }) => vhost.setFeatures(1n << 63n)),
    taken(async ({ vhost }) => vhost.setFeatures((await vhost.getFeatures()) & ~LOG_ALL & ~ACCESS_PLATFORM)),
    taken((device) => device.setUp()),
    taken((device) => run(device, TX)),
    taken((device) => device.vhost.setLogBase(device.page(40), logOf(device))),
    taken(({ vhost }) => vhost.setFeatures(VERSION_1 | LOG_ALL)),
    taken(({ vhost }) => vhost.setFeatures(VERSION_1)),
    {
      call: (device) => device.vhost.setLogBase(device.page(40)),
      answer: differs('a log that is told by its address alone'),
    },
  ],
  'features are those that the kernel of 6.12 has, but for what no worker can': [
    taken(async ({ vhost }) => {
      const features = await vhost.getFeatures();
      const offered = (bit: bigint): string => ((features & bit) === 0n ? 'lacking' : 'offered');
      assert.equal(offered(ACCESS_PLATFORM), differs('VIRTIO_F_ACCESS_PLATFORM'));
      assert.equal(offered(IN_ORDER), differs('VIRTIO_F_IN_ORDER'));
      const common = [15n, 24n, 26n, 27n, 28n, 29n, 32n].map((n) => offered(1n << n));
      assert.deepEqual(new Set(common), new Set(['offered']));
    }),
  ],
  'a queue has an index of two': [
    taken(({ vhost }) => vhost.setOwner()),
    refused('ENOBUFS VHOST_SET_VRING_NUM 2', ({ vhost }) => vhost.setVringNum(2, SIZE)),
    refused('ENOBUFS VHOST_SET_VRING_BASE 2', ({ vhost }) => vhost.setVringBase(2, 0)),
    refused('ENOBUFS VHOST_GET_VRING_BASE 2', ({ vhost }) => vhost.getVringBase(2)),
    refused('ENOBUFS VHOST_SET_VRING_ADDR 2', (device) => device.vhost.setVringAddr(2, device.ring(TX))),
    refused('ENOBUFS VHOST_SET_VRING_KICK 2', ({ vhost }) => vhost.setVringKick(2, NONE)),
    refused('ENOBUFS VHOST_SET_VRING_CALL 2', ({ vhost }) => vhost.setVringCall(2, NONE)),
    refused('ENOBUFS VHOST_SET_VRING_ERR 2', ({ vhost }) => vhost.setVringErr(2, NONE)),
    refused('ENOBUFS VHOST_SET_VRING_BUSYLOOP_TIMEOUT 2', ({ vhost }) => vhost.setVringBusyloopTimeout(2, 0)),
    refused('ENOBUFS VHOST_NET_SET_BACKEND 2', ({ vhost }) => vhost.setBackend(2, NONE)),
    refused('ENOBUFS VHOST_NET_SET_BACKEND 2', ({ vhost }) => vhost.detachBackend(2)),
  ],
  'a ring is of a power of two, and stays as it is while it runs': [
    taken((device) => device.setUp()),
    ...[0, 3, 65_535, 65_536].map((size) =>
      refused('EINVAL VHOST_SET_VRING_NUM 1', ({ vhost }) => vhost.setVringNum(TX, size)),
    ),
    taken(async ({ vhost }) => {
      for (let size = 1; size <= 32_768; size *= 2) await vhost.setVringNum(RX, size);
    }),
    refused('EINVAL VHOST_SET_VRING_BASE 1', ({ vhost }) => vhost.setVringBase(TX, 65_536)),
    taken(({ vhost }) => vhost.setVringBase(TX, 65_535)),
    taken(async ({ vhost }) => assert.equal(await vhost.getVringBase(TX), 65_535)),
    taken(({ vhost }) => vhost.setVringBase(TX, 0)),
    taken((device) => run(device, TX)),
    refused('EBUSY VHOST_SET_VRING_NUM 1', ({ vhost }) => vhost.setVringNum(TX, SIZE)),
    refused('EBUSY VHOST_SET_VRING_BASE 1', ({ vhost }) => vhost.setVringBase(TX, 0)),
    taken(({ vhost }) => vhost.setVringNum(RX, SIZE)),
    taken((device) => device.vhost.setVringAddr(TX, device.ring(TX))),
    taken(({ vhost }) => vhost.detachBackend(TX)),
    taken(({ vhost }) => vhost.setVringNum(TX, SIZE)),
  ],
  'the parts of a ring are aligned and inside the memory': [
    taken((device) => device.setUp()),
    refused('EINVAL VHOST_SET_VRING_ADDR 1', (device) => move(device, { availableRing: 1n })),
    refused('EINVAL VHOST_SET_VRING_ADDR 1', (device) => move(device, { usedRing: 2n })),
    refused('EINVAL VHOST_SET_VRING_ADDR 1', (device) => move(device, { log: 2n }, 1)),
    refused('EOPNOTSUPP VHOST_SET_VRING_ADDR 1', (device) => move(device, {}, 2)),
    refused('ERR_VHOST_OUT_OF_RANGE VHOST_SET_VRING_ADDR 1', (device) =>
      move(device, { descriptorTable: 8n }),
    ),
    refused('ERR_VHOST_OUT_OF_RANGE VHOST_SET_VRING_ADDR 1', (device) =>
      move(device, { availableRing: 1n << 20n }),
    ),
    refused('ERR_VHOST_OUT_OF_RANGE VHOST_SET_VRING_ADDR 1', (device) =>
      move(device, { usedRing: -(1n << 20n) }),
    ),
    taken((device) => move(device, {})),
  ],
  'memory has regions of some size that do not overlap, and holds the rings that run': [
    taken((device) => device.setUp()),
    refused('ERR_VHOST_OUT_OF_RANGE VHOST_SET_MEM_TABLE', (device) =>
      device.vhost.setMemTable(overlapping(device)),
    ),
    taken((device) => run(device, TX)),
    refused('ERR_VHOST_OUT_OF_RANGE VHOST_SET_MEM_TABLE 1', ({ vhost }) =>
      vhost.setMemTable(new GuestMemory(hostKernel())),
    ),
    taken(({ vhost, memory }) => vhost.setMemTable(memory)),
  ],
  'events are eventfds, or none': [
    taken(({ vhost }) => vhost.setOwner()),
    ...(['Kick', 'Call', 'Err'] as const).flatMap((name) => {
      const request = `VHOST_SET_VRING_${name.toUpperCase()} 1`;
      return [
        taken((device) => device.vhost[`setVring${name}`](TX, device.eventfd())),
        taken(({ vhost }) => vhost[`setVring${name}`](TX, NONE)),
        refused(`EBADF ${request}`, ({ vhost }) => vhost[`setVring${name}`](TX, 1_000_000)),
        refused(`EINVAL ${request}`, (device) => device.vhost[`setVring${name}`](TX, devNull(device))),
      ];
    }),
    refused('EBADF VHOST_SET_LOG_FD', ({ vhost }) => vhost.setLogFd(1_000_000)),
    refused('EINVAL VHOST_SET_LOG_FD', (device) => device.vhost.setLogFd(devNull(device))),
    taken((device) => device.vhost.setLogFd(device.eventfd())),
    taken(({ vhost }) => vhost.setLogFd(NONE)),
  ],
  'a backend carries frames, and a queue has memory and a ring before it has one': [
    taken(({ vhost }) => vhost.setOwner()),
    taken((device) => device.place()),
    refused('EFAULT VHOST_NET_SET_BACKEND 1', (device) => run(device, TX)),
    refused('EFAULT VHOST_NET_SET_BACKEND 1', ({ vhost }) => vhost.setBackend(TX, NONE)),
    refused('EFAULT VHOST_NET_SET_BACKEND 1', ({ vhost }) => vhost.detachBackend(TX)),
    taken(({ vhost, memory }) => vhost.setMemTable(memory)),
    refused('ENOTSOCK VHOST_NET_SET_BACKEND 1', ({ vhost }) => vhost.setBackend(TX, 1_000_000)),
    refused('ENOTSOCK VHOST_NET_SET_BACKEND 1', (device) => device.vhost.setBackend(TX, device.eventfd())),
    refused('ENOTSOCK VHOST_NET_SET_BACKEND 1', (device) => device.vhost.setBackend(TX, devNull(device))),
    refused('ENOTSOCK VHOST_NET_SET_BACKEND 1', (device) =>
      device.vhost.setBackend(TX, device.own(hostKernel().netdev.open())),
    ),
    refused('EINVAL VHOST_NET_SET_BACKEND 1', (device) =>
      device.vhost.setBackend(TX, device.own(hostKernel().tun.open('/dev/net/tun'))),
    ),
    taken((device) => device.vhost.setBackend(TX, device.own(hostKernel().packet.open()))),
    taken((device) => run(device, TX)),
    taken((device) => run(device, TX)),
    taken((device) => run(device, RX)),
    taken(({ vhost }) => vhost.detachBackend(TX)),
    taken(({ vhost }) => vhost.detachBackend(TX)),
    taken(({ vhost }) => vhost.setBackend(RX, NONE)),
  ],
  'a ring that grew out of the memory does not start': [
    taken((device) => device.setUp()),
    taken(({ vhost }) => vhost.setVringNum(TX, 32_768)),
    refused('ERR_VHOST_OUT_OF_RANGE VHOST_NET_SET_BACKEND 1', (device) => run(device, TX)),
  ],
};

/** Starts a queue on a tap that is down: what is sent there completes. */
function run(device: ControlDevice<Vhost>, queue: number): unknown {
  return device.vhost.setBackend(queue, device.tap(namespace, 't%d').fd);
}

/** Moves parts of the ring by so many bytes. */
function move(
  device: ControlDevice<Vhost>,
  by: Partial<Record<'descriptorTable' | 'availableRing' | 'usedRing' | 'log', bigint>>,
  flags = 0,
): unknown {
  const addresses = { ...device.ring(TX), flags };
  for (const part of Object.keys(by) as (keyof typeof by)[]) addresses[part] += by[part]!;
  return device.vhost.setVringAddr(TX, addresses);
}

/** A page of the memory as the file that has a log. */
function logOf({ region }: ControlDevice<Vhost>): LogFile {
  return { fd: region.fd, offset: 40 * 4096, size: 4096 };
}

function overlapping(device: ControlDevice<Vhost>): GuestMemory {
  const memory = new GuestMemory(hostKernel());
  const [region] = device.memory.table();
  memory.table = () => [region!, region!];
  return memory;
}

function devNull(device: ControlDevice<Vhost>): number {
  return device.own(hostKernel().tun.open('/dev/null'));
}

describe('contract of a Vhost: requests', function () {
  this.timeout(300_000);

  before(() => {
    namespace = Namespace.add();
  });
  after(() => namespace.remove());

  for (const [title, steps] of Object.entries(SEQUENCES))
    it(title, async () => {
      const device = new ControlDevice<Vhost>(openVhost());
      const answers: string[] = [];
      try {
        for (const { call } of steps) answers.push(await answerOf(() => call(device)));
      } finally {
        await device.close();
      }
      assert.deepEqual(
        answers,
        steps.map(({ answer }) => answer),
      );
    });
});

async function answerOf(call: () => unknown): Promise<string> {
  try {
    await call();
    return 'accepted';
  } catch (error) {
    const { code, request, queue } = error as Record<string, unknown>;
    if (code === undefined || code === 'ERR_ASSERTION') throw error;
    return [code, request, queue].filter((word) => word !== undefined).join(' ');
  }
}
