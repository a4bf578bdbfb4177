import type { Backend } from '../backend/backend.js';
import { type BackendOptions, backendOptionNames } from '../backend/open.js';
import { Budget } from '../completion/budget.js';
import { checkInteger, checkOptions, wrongType, wrongValue } from '../errors/check.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import { FramePool } from '../memory/frame-pool.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { Iommu } from '../vhost/iommu.js';
import type { Translator } from '../vhost/iotlb.js';
import { KernelVhost } from '../vhost/kernel-vhost.js';
import type { Vhost } from '../vhost/vhost.js';
import { checkRingSize } from '../vring/layout.js';
import { BackendSlot } from './backend-slot.js';
import { QueuePair, type QueuePairEvents, queuePairBytes } from './queue-pair.js';
import { Teardown } from './teardown.js';

/** How many descriptors each queue has unless told otherwise. */
const QUEUE_SIZE = 256;
/** Room for an ordinary frame, its header and a VLAN tag. */
const BUFFER_SIZE = 2048;

/** How a `Nic` is opened; exactly one of the backends must be named. */
export interface NicOptions extends BackendOptions {
  /** A backend that is open already; it stays the caller's to close. */
  readonly backend?: Backend;
  /** Descriptors of both queues, or of each: a power of two up to 32,768; 256 by default. */
  readonly queueSize?: number | { readonly receive?: number; readonly transmit?: number };
  /** Bytes of a buffer: header (12) and frame; longer frames take several. 2,048 by default. */
  readonly bufferSize?: number;
  /** Buffers, for both queues and for what the program holds; three times the larger queue by default. */
  readonly buffers?: number;
  /** Memory and buffers shared with another `Nic`, so that frames move between them without being copied. */
  readonly shared?: { readonly memory: GuestMemory; readonly pool: FramePool };
  /** Bytes of a huge page (0x20_0000); ordinary pages by default. */
  readonly hugePageSize?: number;
  /** The most frames and bytes in flight; the queue's size and no bound by default. */
  readonly maxInFlight?: { readonly frames?: number; readonly bytes?: number };
  /** What one round of reaping takes before the loop goes on; 256 frames and 0x80000 bytes by default. */
  readonly budget?: { readonly frames?: number; readonly bytes?: number };
  /**
   * Microseconds that a side looks at a ring before it sleeps, 0 by default: the device (VHOST_SET_VRING_BUSYLOOP_TIMEOUT),
   * and this program, which does so only while its sleeps are short, and does nothing else meanwhile. A number is for both.
   */
  readonly busyPoll?: number | { readonly device?: number; readonly driver?: number };
  /**
   * Has the device ask for every address that it wants access to (VIRTIO_F_ACCESS_PLATFORM): what answers it, made for
   * the memory of the `Nic`, or `true` for a plain `Iommu`. I/O virtual addresses are guest physical addresses.
   */
  readonly iommu?: boolean | ((memory: GuestMemory) => Translator);
  /** The device; the kernel's /dev/vhost-net by default. It becomes the `Nic`'s to close. */
  readonly vhost?: Vhost | string;
  /** The operating system; this host by default. */
  readonly kernel?: Kernel;
}

const optionNames = [
  ...backendOptionNames,
  'backend',
  'queueSize',
  'bufferSize',
  'buffers',
  'shared',
  'hugePageSize',
  'maxInFlight',
  'budget',
  'busyPoll',
  'iommu',
  'vhost',
  'kernel',
] as const;

/** What the parts of a `Nic` tell it. */
export interface NicEvents extends QueuePairEvents {
  /** Something happened to the interface of the backend, or to another of its namespace. */
  interfaceChanged(): void;
}

/** What a `Nic` is made of, set up and detached. */
export interface NicParts {
  readonly pair: QueuePair;
  readonly slot: BackendSlot;
  readonly memory: GuestMemory;
  /** What a round of each queue may take. */
  readonly budgets: { readonly receive: Budget; readonly transmit: Budget };
  /** Closes all of it, in the order in which nothing is let go before the device has. */
  readonly teardown: Teardown;
}

/** Opens all that a `Nic` needs, or nothing: where a step fails, those before it are undone. */
export async function openParts(options: NicOptions, events: NicEvents): Promise<NicParts> {
  checkOptions('options', options, optionNames);
  const { kernel = hostKernel(), vhost, iommu = false } = options;
  const { receive: receiveSize, transmit: transmitSize } = checkQueueSizes(options.queueSize);
  const bufferSize = checkInteger('bufferSize', options.bufferSize ?? BUFFER_SIZE, 128, 2 ** 20);
  const least = receiveSize + transmitSize;
  const count = options.buffers ?? Math.max(3 * Math.max(receiveSize, transmitSize), least);
  checkInteger('buffers', count, 2, 2 ** 20);
  const maxFrames = checkInteger(
    'maxInFlight.frames',
    options.maxInFlight?.frames ?? transmitSize,
    1,
    2 ** 31,
  );
  const maxBytes = options.maxInFlight?.bytes ?? Number.MAX_SAFE_INTEGER;
  checkInteger('maxInFlight.bytes', maxBytes, 1, Number.MAX_SAFE_INTEGER);
  const busyPoll = checkBusyPoll(options.busyPoll);
  const budget = (): Budget => new Budget(options.budget?.frames, options.budget?.bytes);
  const budgets = { receive: budget(), transmit: budget() };
  if (vhost !== undefined && typeof vhost !== 'string' && typeof vhost !== 'object')
    throw wrongType('vhost', 'a path or a Vhost', vhost);
  if (typeof iommu !== 'boolean' && typeof iommu !== 'function')
    throw wrongType('iommu', 'true, false or a function of the memory', iommu);

  const teardown = new Teardown();
  // Closed here where opening fails before the queues have it; its `close` is idempotent.
  if (typeof vhost === 'object') teardown.add(() => vhost.close());
  try {
    const ringBytes = queuePairBytes(
      receiveSize,
      transmitSize,
      options.shared?.pool.bufferSize ?? bufferSize,
    );
    const { memory, pool } = options.shared
      ? addRings(options.shared, ringBytes)
      : createMemory(kernel, ringBytes, bufferSize, count, options.hugePageSize ?? 0, teardown);
    const slot = new BackendSlot(options.backend ?? namedBackend(options), kernel, events.interfaceChanged);
    teardown.add(() => slot.close());
    const pair = await QueuePair.open({
      kernel,
      openVhost: () =>
        typeof vhost === 'object' ? vhost : KernelVhost.open({ kernel, ...(vhost && { path: vhost }) }),
      memory,
      pool,
      backendHeaderSize: slot.backend.headerSize,
      mtu: slot.backend.interface.mtu,
      receiveSize,
      transmitSize,
      reserve: options.shared ? 0 : Math.min(transmitSize, Math.floor(pool.count / 2)),
      maxFrames,
      maxBytes,
      busyPoll,
      translator: typeof iommu === 'function' ? iommu(memory) : iommu ? new Iommu(memory) : undefined,
      events,
      teardown,
    });
    return { pair, slot, memory, budgets, teardown };
  } catch (error) {
    await teardown.undo();
    throw error;
  }
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

function namedBackend(options: NicOptions): BackendOptions {
  const named = backendOptionNames.filter((name) => options[name] !== undefined);
  if (named.length === 0)
    throw wrongValue('options', `such that one of ${backendOptionNames.join(', ')} or backend is named`, []);
  return Object.fromEntries(named.map((name) => [name, options[name]]));
}

function createMemory(
  kernel: Kernel,
  ringBytes: number,
  bufferSize: number,
  count: number,
  hugePageSize: number,
  teardown: Teardown,
): { memory: GuestMemory; pool: FramePool } {
  const memory = new GuestMemory(kernel);
  teardown.add(() => memory.close());
  memory.addRegion({ size: ringBytes + (bufferSize + 64) * count, hugePageSize });
  return { memory, pool: new FramePool(memory, bufferSize, count) };
}

/** Rings of a second `Nic` get a region of their own beside the shared buffers. */
function addRings(
  shared: NonNullable<NicOptions['shared']>,
  ringBytes: number,
): { memory: GuestMemory; pool: FramePool } {
  shared.memory.addRegion({ size: ringBytes });
  return shared;
}
