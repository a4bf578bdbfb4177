import { MAX_TAP_QUEUES } from '../abi/if-tun.js';
import { isAdoptable } from '../backend/adopt.js';
import type { Backend } from '../backend/backend.js';
import { type BackendOptions, backendOptionNames } from '../backend/open.js';
import { Budget } from '../completion/budget.js';
import { checkBoolean, checkInteger, checkOptions, wrongType, wrongValue } from '../errors/check.js';
import { tellPair, VhostError } from '../errors/errors.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import { FramePool } from '../memory/frame-pool.js';
import { GuestMemory, type RegionOptions } from '../memory/guest-memory.js';
import type { Region } from '../memory/region.js';
import { Iommu } from '../vhost/iommu.js';
import type { Translator } from '../vhost/iotlb.js';
import { KernelVhost } from '../vhost/kernel-vhost.js';
import type { KernelWorker } from '../vhost/kernel-worker.js';
import type { Vhost } from '../vhost/vhost.js';
import { WorkerVhost } from '../vhost/worker/worker-vhost.js';
import { checkRingSize } from '../vring/layout.js';
import { BackendSlot, isOpen } from './backend-slot.js';
import { HandOver, type HandOverState, MAX_HANDED_PAIRS } from './hand-over.js';
import { NicJournal, type RingSizes } from './nic-journal.js';
import { PageLog } from './page-log.js';
import type { PairBudgets } from './pair-traffic.js';
import { QueuePair, queuePairBytes } from './queue-pair.js';
import { Teardown } from './teardown.js';

/** How many descriptors each queue has unless told otherwise. */
const QUEUE_SIZE = 256;
/** Room for an ordinary frame, its header and a VLAN tag. */
const BUFFER_SIZE = 2048;

/** How a `Nic` is opened; exactly one of the backends must be named. */
export interface NicOptions extends BackendOptions {
  /** A backend that is open already; it stays the caller's to close. */
  readonly backend?: Backend;
  /**
   * Queue pairs, each with a device and a queue of the backend of its own, up to 256: of a tap or a macvtap, or of a
   * backend that was opened with as many queues. 1 by default.
   */
  readonly queuePairs?: number;
  /** Descriptors of both queues, or of each: a power of two up to 32,768; 256 by default. */
  readonly queueSize?: number | { readonly receive?: number; readonly transmit?: number };
  /** Bytes of a buffer: header (12) and frame; longer frames take several. 2,048 by default. */
  readonly bufferSize?: number;
  /** Buffers, for all queues and for what the program holds; for each pair three times the larger queue by default. */
  readonly buffers?: number;
  /**
   * Memory and buffers shared with another `Nic`, which may be given itself, so that frames move between them without being
   * copied.
   */
  readonly shared?: { readonly memory: GuestMemory; readonly pool: FramePool };
  /** Bytes of a huge page (0x20_0000); ordinary pages by default. */
  readonly hugePageSize?: number;
  /**
   * Keeps beside the rings, in a memfd of its own, what another process needs to go on with them, so that `handOver` and
   * `standby` can be called. Not with `shared`, and with at most 251 queue pairs.
   */
  readonly resumable?: boolean;
  /** The most frames and bytes in flight on a pair; the queue's size and no bound by default. */
  readonly maxInFlight?: { readonly frames?: number; readonly bytes?: number };
  /** What one round of reaping takes before the loop goes on; 256 frames and 0x80000 bytes by default. */
  readonly budget?: { readonly frames?: number; readonly bytes?: number };
  /**
   * Microseconds that a side looks at a ring before it sleeps, 0 by default: the device (VHOST_SET_VRING_BUSYLOOP_TIMEOUT),
   * and this program, which does so only while its sleeps are short, and does nothing else meanwhile. A number is for both.
   */
  readonly busyPoll?: number | { readonly device?: number; readonly driver?: number };
  /**
   * Has the devices ask for every address that they want access to (VIRTIO_F_ACCESS_PLATFORM): what answers them, made for
   * the memory of the `Nic`, or `true` for a plain `Iommu`. I/O virtual addresses are guest physical addresses.
   */
  readonly iommu?: boolean | ((memory: GuestMemory) => Translator);
  /**
   * Has the device return frames and buffers in the order in which it was given them, and tell of many at once
   * (VIRTIO_F_IN_ORDER). ERR_VHOST_UNSUPPORTED before Linux 6.17.
   */
  readonly inOrder?: boolean;
  /**
   * The device, one for each pair, which becomes the `Nic`'s to close; the path of a device of the kernel's; or 'worker' for
   * this program itself (`WorkerVhost`). By default the kernel's /dev/vhost-net, and this program where that does not exist:
   * `Nic.device` tells which. ERR_VHOST_UNSUPPORTED: it is a legacy device, which does not offer VIRTIO_F_VERSION_1.
   */
  readonly vhost?: Vhost | readonly Vhost[] | string;
  /**
   * What the kernel's worker of each device is to be (VHOST_SET_FORK_FROM_OWNER): a 'task' of this process, within its
   * limits, its cgroup and its CPU time, or a 'kernel thread' outside of them; as the kernel has it by default.
   * ERR_VHOST_UNSUPPORTED: the kernel leaves no choice, as before Linux 6.17, or the device is not the kernel's.
   */
  readonly worker?: KernelWorker['kind'];
  /** The operating system; this host by default. */
  readonly kernel?: Kernel;
}

const optionNames = [
  ...backendOptionNames,
  'backend',
  'queuePairs',
  'queueSize',
  'bufferSize',
  'buffers',
  'shared',
  'hugePageSize',
  'resumable',
  'maxInFlight',
  'budget',
  'busyPoll',
  'iommu',
  'inOrder',
  'vhost',
  'worker',
  'kernel',
] as const;

/** What the parts of a `Nic` tell it. */
export interface NicEvents {
  /** The device of a pair called. */
  called(pair: number, queue: number, count: number): void;
  /** The device of a pair lied in a ring. */
  corrupted(pair: number, queue: number, error: VhostError): void;
  /** The device of a pair asks for an address that it cannot have. */
  faulted(pair: number, error: VhostError): void;
  /** The device of a pair reported an error. */
  failed(pair: number, queue: number): void;
  /** A device that was stopped had taken chains that it never returned. */
  lost(pair: number, queue: number, count: number): void;
  /** Something happened to the interface of the backend, or to another of its namespace. */
  interfaceChanged(): void;
}

/** What a `Nic` is made of, set up and detached. */
export interface NicParts {
  readonly pairs: readonly QueuePair[];
  readonly slot: BackendSlot;
  readonly memory: GuestMemory;
  readonly pageLog: PageLog;
  /** What a round of each queue of a pair may take. */
  readonly budgets: () => PairBudgets;
  /** Microseconds that the program looks at the rings before it sleeps. */
  readonly driverPoll: number;
  /** What another process needs to go on, as of now; absent where the `Nic` is not resumable. */
  readonly handOver: (() => HandOver) | undefined;
  /** Closes all of it, in the order in which nothing is let go before the device has. */
  readonly teardown: Teardown;
}

/**
 * Opens all that a `Nic` needs, or nothing: where a step fails, those before it are undone. What was inherited is taken
 * over as it is and stays the caller's to close.
 */
export async function openParts(
  options: NicOptions,
  events: NicEvents,
  inherited?: HandOver,
): Promise<NicParts> {
  checkOptions('options', options, optionNames);
  const {
    kernel = hostKernel(),
    shared,
    iommu = false,
    inOrder = false,
    resumable = false,
    worker,
  } = options;
  const backend = namedBackend(options);
  checkBoolean('inOrder', inOrder);
  checkBoolean('resumable', resumable);
  if (typeof iommu !== 'boolean' && typeof iommu !== 'function')
    throw wrongType('iommu', 'true, false or a function of the memory', iommu);
  if (worker !== undefined && worker !== 'task' && worker !== 'kernel thread')
    throw wrongValue('worker', "'task' or 'kernel thread'", worker);
  if (shared !== undefined) checkShared(shared);
  if (resumable && inOrder)
    throw wrongValue(
      'resumable',
      'false with inOrder, whose used ring leaves out which heads came back',
      resumable,
    );
  if (resumable && shared !== undefined)
    throw wrongValue('resumable', 'false where memory is shared with another Nic', resumable);
  const pairCount = checkInteger('queuePairs', options.queuePairs ?? 1, 1, MAX_TAP_QUEUES);
  if (resumable && pairCount > MAX_HANDED_PAIRS)
    throw wrongValue(
      'queuePairs',
      `at most ${MAX_HANDED_PAIRS} with resumable, since one message passes no more descriptors`,
      pairCount,
    );
  const { receive: receiveSize, transmit: transmitSize } = checkQueueSizes(options.queueSize);
  const bufferSize = checkInteger('bufferSize', options.bufferSize ?? BUFFER_SIZE, 128, 2 ** 20);
  const each = Math.max(3 * Math.max(receiveSize, transmitSize), receiveSize + transmitSize);
  const count = checkInteger('buffers', options.buffers ?? pairCount * each, 2, 2 ** 20);
  const { maxInFlight = {}, budget: round = {} } = options;
  checkOptions('maxInFlight', maxInFlight, ['frames', 'bytes']);
  checkOptions('budget', round, ['frames', 'bytes']);
  const maxFrames = checkInteger('maxInFlight.frames', maxInFlight.frames ?? transmitSize, 1, 2 ** 31);
  const maxBytes = maxInFlight.bytes ?? Number.MAX_SAFE_INTEGER;
  checkInteger('maxInFlight.bytes', maxBytes, 1, Number.MAX_SAFE_INTEGER);
  const busyPoll = checkBusyPoll(options.busyPoll);
  const budget = (): Budget => new Budget(round.frames, round.bytes);
  const budgets = (): PairBudgets => ({ receive: budget(), transmit: budget() });
  budgets();
  const devices = devicesOf(kernel, options.vhost, pairCount);

  const teardown = new Teardown();
  // Closed here where opening fails before the queues have them; their `close` is idempotent.
  for (const vhost of devices.given) teardown.add(() => vhost.close());
  try {
    const ringBytes =
      pairCount * queuePairBytes(receiveSize, transmitSize, shared?.pool.bufferSize ?? bufferSize);
    const { memory, pool, ringRegion } = shared
      ? addRings(shared, ringBytes, teardown)
      : createMemory(
          kernel,
          { size: ringBytes + (bufferSize + 64) * count, hugePageSize: options.hugePageSize ?? 0 },
          bufferSize,
          count,
          inherited,
          teardown,
        );
    const sizes = { queuePairs: pairCount, receiveSize, transmitSize };
    const journal = resumable ? openJournal(kernel, sizes, inherited, teardown) : undefined;
    const slot = new BackendSlot(backend, pairCount, kernel, events.interfaceChanged);
    teardown.add(() => slot.close());
    const pageLog = new PageLog(kernel, memory);
    teardown.add(() => pageLog.close());
    const reserve = shared ? 0 : Math.min(pairCount * transmitSize, Math.floor(pool.count / 2));
    const translator = typeof iommu === 'function' ? iommu(memory) : iommu ? new Iommu(memory) : undefined;
    const pairs: QueuePair[] = [];
    for (let index = 0; index < pairCount; index++)
      pairs.push(
        await QueuePair.open({
          kernel,
          openVhost: () => devices.open(index),
          worker,
          memory,
          ringRegion,
          pool,
          journals: journal?.rings(index),
          takeOver: inherited && BigInt(`0x${inherited.state.features}`),
          backendHeaderSize: slot.backend.headerSize,
          mtu: slot.backend.interface.mtu,
          receiveSize,
          transmitSize,
          reserve,
          mostReceive: Math.floor((pool.count - reserve) / pairCount),
          maxFrames,
          maxBytes,
          busyPoll,
          translator,
          inOrder,
          events: {
            called: (queue, calls) => events.called(index, queue, calls),
            failed: (queue) => events.failed(index, queue),
            corrupted: (queue, error) => events.corrupted(index, queue, error),
            faulted: (error) => events.faulted(index, error),
            lost: (queue, count) => events.lost(index, queue, count),
          },
          teardown,
        }).catch((error: unknown) => {
          throw tellPair(error, index);
        }),
      );
    const handOver = (journal: NicJournal): HandOver => {
      const { kind, queues, offloads, interface: device } = slot.backend;
      if (!isAdoptable(kind))
        throw new VhostError('ERR_VHOST_UNSUPPORTED', `a backend that is a ${kind} cannot be handed over`);
      const state: HandOverState = {
        ...sizes,
        bufferSize,
        buffers: pool.count,
        features: pairs[0]!.features.toString(16),
        guestPhysicalAddress: ringRegion.guestPhysicalAddress,
        size: ringRegion.size,
        kind,
        offloads,
        netns: device.netns ?? '',
      };
      return HandOver.of(kernel, state, [ringRegion.fd, journal.fd, ...queues]);
    };
    return {
      pairs,
      slot,
      memory,
      pageLog,
      budgets,
      driverPoll: busyPoll.driver,
      handOver: journal && (() => handOver(journal)),
      teardown,
    };
  } catch (error) {
    await teardown.undo();
    throw error;
  }
}

/** Where the device of each pair comes from: those that were given ready, or the kernel. */
function devicesOf(
  kernel: Kernel,
  vhost: NicOptions['vhost'],
  pairCount: number,
): { readonly given: readonly Vhost[]; open(pair: number): Vhost } {
  if (vhost === undefined) return { given: [], open: () => defaultDevice(kernel) };
  if (vhost === 'worker') return { given: [], open: () => new WorkerVhost({ kernel }) };
  if (typeof vhost === 'string') return { given: [], open: () => KernelVhost.open({ kernel, path: vhost }) };
  if (typeof vhost !== 'object' || vhost === null)
    throw wrongType('vhost', "a path, 'worker', a Vhost or an array of these", vhost);
  const given: readonly Vhost[] = isArray(vhost) ? vhost : [vhost];
  if (given.length !== pairCount)
    throw wrongValue('vhost', `a device for each of the ${pairCount} queue pairs`, vhost);
  return { given, open: (pair) => given[pair]! };
}

/** The kernel's device, or, on a machine where no module has made one, this program. */
function defaultDevice(kernel: Kernel): Vhost {
  try {
    return KernelVhost.open({ kernel });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return new WorkerVhost({ kernel });
  }
}

/** `Array.isArray` does not tell a readonly array from what else it might be. */
function isArray(vhost: Vhost | readonly Vhost[]): vhost is readonly Vhost[] {
  return Array.isArray(vhost);
}

function checkQueueSizes(queueSize: NicOptions['queueSize'] = QUEUE_SIZE): {
  receive: number;
  transmit: number;
} {
  if (typeof queueSize !== 'object') {
    const size = checkRingSize('queueSize', queueSize);
    return { receive: size, transmit: size };
  }
  checkOptions('queueSize', queueSize, ['receive', 'transmit']);
  return {
    receive: checkRingSize('queueSize.receive', queueSize.receive ?? QUEUE_SIZE),
    transmit: checkRingSize('queueSize.transmit', queueSize.transmit ?? QUEUE_SIZE),
  };
}

function checkBusyPoll(busyPoll: NicOptions['busyPoll'] = 0): { device: number; driver: number } {
  const microseconds = (name: string, value = 0): number => checkInteger(name, value, 0, 2 ** 31);
  if (typeof busyPoll !== 'object') {
    const both = microseconds('busyPoll', busyPoll);
    return { device: both, driver: both };
  }
  checkOptions('busyPoll', busyPoll, ['device', 'driver']);
  return {
    device: microseconds('busyPoll.device', busyPoll.device),
    driver: microseconds('busyPoll.driver', busyPoll.driver),
  };
}

function namedBackend(options: NicOptions): BackendOptions | Backend {
  const names = [...backendOptionNames, 'backend'] as const;
  const [name, ...others] = names.filter((each) => options[each] !== undefined);
  if (name === undefined || others.length > 0)
    throw wrongValue(
      'options',
      `such that exactly one of ${names.join(', ')} is named`,
      name === undefined ? [] : [name, ...others],
    );
  if (name !== 'backend') return { [name]: options[name] };
  if (!isOpen(options.backend)) throw wrongType('backend', 'a backend that is open', options.backend);
  return options.backend;
}

function checkShared(shared: NonNullable<NicOptions['shared']>): void {
  if (typeof shared !== 'object' || shared === null)
    throw wrongType('shared', 'a Nic, or an object with a memory and a pool', shared);
  const { memory, pool } = shared;
  if (!(memory instanceof GuestMemory)) throw wrongType('shared.memory', 'a GuestMemory', memory);
  if (!(pool instanceof FramePool)) throw wrongType('shared.pool', 'a FramePool', pool);
  if (!memory.regions.includes(pool.region))
    throw wrongValue('shared.pool', 'in a region of shared.memory', pool);
}

/** Where the buffers and the rings of a `Nic` lie. */
interface NicMemory {
  readonly memory: GuestMemory;
  readonly pool: FramePool;
  readonly ringRegion: Region;
}

function createMemory(
  kernel: Kernel,
  options: RegionOptions,
  bufferSize: number,
  count: number,
  inherited: HandOver | undefined,
  teardown: Teardown,
): NicMemory {
  const memory = new GuestMemory(kernel);
  teardown.add(() => memory.close());
  // What is allocated in it then comes to lie where it lay before, since it is the same in the same order.
  const region = inherited
    ? memory.adoptRegion({ ...inherited.state, fd: inherited.descriptors.memory })
    : memory.addRegion(options);
  return { memory, pool: new FramePool(memory, bufferSize, count), ringRegion: region };
}

function openJournal(
  kernel: Kernel,
  sizes: RingSizes,
  inherited: HandOver | undefined,
  teardown: Teardown,
): NicJournal {
  const journal = inherited
    ? NicJournal.adopt(kernel, inherited.descriptors.journal, sizes)
    : NicJournal.create(kernel, sizes);
  teardown.add(() => journal.close());
  return journal;
}

/** Rings of a second `Nic` get a region of their own beside the shared buffers, which goes when it closes. */
function addRings(
  shared: NonNullable<NicOptions['shared']>,
  ringBytes: number,
  teardown: Teardown,
): NicMemory {
  const ringRegion = shared.memory.addRegion({ size: ringBytes });
  teardown.add(() => shared.memory.hotRemove(ringRegion));
  return { ...shared, ringRegion };
}
