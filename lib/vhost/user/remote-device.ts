import { bit } from '../../abi/bit.js';
import { VHOST_NET_F_VIRTIO_NET_HDR, VHOST_VRING_F_LOG } from '../../abi/vhost.js';
import { VIRTIO_NET_F_MQ } from '../../abi/virtio-net.js';
import { VRING_USED_IDX_OFFSET } from '../../abi/virtio-ring.js';
import { checkInteger, wrongValue } from '../../errors/check.js';
import { VhostError } from '../../errors/errors.js';
import { undo } from '../../errors/undo.js';
import type { Kernel, VringAddresses } from '../../kernel/kernel.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { Region } from '../../memory/region.js';
import { UnixConnection } from '../../socket/unix-connection.js';
import { checkRingSize } from '../../vring/layout.js';
import { advance } from '../../vring/ring-index.js';
import type { LogFile } from '../vhost.js';
import { InflightMemory } from './inflight-memory.js';
import {
  MAX_TABLE_REGIONS,
  type MemoryRegion,
  type ProtocolFeature,
  protocolFeatureBits,
  replyFraming,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from './protocol.js';
import { Requester } from './requester.js';

/** Protocol features that are used where the back-end offers them. */
const WANTED = protocolFeatureBits('MQ', 'LOG_SHMFD', 'REPLY_ACK', 'INFLIGHT_SHMFD', 'CONFIGURE_MEM_SLOTS');

/** The eventfds of a queue. */
export type RingFile = 'kick' | 'call' | 'err';

/** What the back-end is told of a queue when it starts. */
interface Ring {
  size: number;
  base: number;
  addresses: VringAddresses | undefined;
  kick: number;
  call: number;
  err: number;
  running: boolean;
}

/** A device in another process, with every queue that it has: what the clients of its pairs share. */
export class RemoteDevice {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #rings: readonly Ring[];
  #requester: Requester;
  #offered = 0n;
  #protocolFeatures = 0n;
  #features: bigint | undefined;
  #owned = false;
  #memory: GuestMemory | undefined;
  /** Regions as the back-end was told of them one by one. */
  readonly #told = new Map<Region, MemoryRegion>();
  #log: LogFile | undefined;
  #logFd = -1;
  #inflight: InflightMemory | undefined;
  /** Whether the back-end of this connection has it. */
  #inflightTold = false;
  #closed = false;

  private constructor(kernel: Kernel, path: string, requester: Requester, pairs: number) {
    this.#kernel = kernel;
    this.path = path;
    this.#requester = requester;
    this.#rings = Array.from({ length: 2 * pairs }, newRing);
  }

  /** A back-end at the other end of a connection, which must have so many pairs. */
  static async greet(
    kernel: Kernel,
    path: string,
    connection: UnixConnection,
    pairs: number,
  ): Promise<RemoteDevice> {
    try {
      // An index in the requests that carry a descriptor has eight bits.
      checkInteger('queuePairs', pairs, 1, 128);
      const device = new RemoteDevice(kernel, path, new Requester(kernel, connection), pairs);
      await device.#greet();
      return device;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  async getFeatures(): Promise<bigint> {
    const offered = await (await this.#connected()).ask('GET_FEATURES', undefined);
    // Bit 27 is ANY_LAYOUT here: no back-end supplies headers.
    return offered & ~bit(VHOST_USER_F_PROTOCOL_FEATURES) & ~bit(VHOST_NET_F_VIRTIO_NET_HDR);
  }

  async setFeatures(features: bigint): Promise<void> {
    const requester = await this.#connected();
    await requester.tell('SET_FEATURES', this.#onTheWire(features));
    this.#features = features;
  }

  async setOwner(): Promise<void> {
    const requester = await this.#connected();
    if (this.#owned) return;
    await requester.tell('SET_OWNER', undefined);
    this.#owned = true;
  }

  async setMemTable(memory: GuestMemory): Promise<void> {
    await this.#tellMemory(await this.#connected(), memory);
    this.#memory = memory;
  }

  async setLogBase(file?: LogFile): Promise<void> {
    if (file === undefined)
      throw wrongValue('file', 'given: another process cannot reach an address of this', file);
    const requester = await this.#connected();
    if (!this.#offers('LOG_SHMFD')) throw unsupported('a dirty log (LOG_SHMFD)');
    await this.#tellLog(requester, file);
    this.#log = file;
  }

  async setLogFd(logFd: number): Promise<void> {
    if (logFd === -1) throw unsupported('to take back the eventfd of the log');
    await (await this.#connected()).tell('SET_LOG_FD', undefined, [logFd]);
    this.#logFd = logFd;
  }

  setVringNum(queue: number, size: number): void {
    this.#stopped(queue).size = checkRingSize('size', size);
  }

  setVringBase(queue: number, base: number): void {
    const ring = this.#stopped(queue);
    ring.base = base;
    this.#inflight?.of(queue, ring.size)?.forget();
  }

  getVringBase(queue: number): number {
    return this.#stopped(queue).base;
  }

  async setVringAddr(queue: number, addresses: VringAddresses): Promise<void> {
    const ring = this.#ring(queue);
    if (ring.running) await this.#tellAddresses(this.#requester, queue, addresses);
    ring.addresses = { ...addresses };
  }

  async setFile(queue: number, file: RingFile, fd: number): Promise<void> {
    const ring = this.#ring(queue);
    if (ring.running) await tellFile(this.#requester, queue, file, fd);
    ring[file] = fd;
  }

  async setBackend(queue: number): Promise<void> {
    const requester = await this.#connected();
    const ring = this.#ring(queue);
    if (ring.running) return;
    if (ring.addresses === undefined) throw wrongValue('queue', 'one whose addresses are set', queue);
    await this.#tellInflight(requester);
    await requester.tell('SET_VRING_NUM', { index: queue, num: ring.size });
    await requester.tell('SET_VRING_BASE', { index: queue, num: ring.base });
    await this.#tellAddresses(requester, queue, ring.addresses);
    for (const file of ['call', 'err', 'kick'] as const) await tellFile(requester, queue, file, ring[file]);
    if (this.#protocolFeatures !== 0n) await requester.tell('SET_VRING_ENABLE', { index: queue, num: 1 });
    ring.running = true;
  }

  async detachBackend(queue: number): Promise<void> {
    const ring = this.#ring(queue);
    if (!ring.running) return;
    const requester = this.#requester;
    try {
      if (this.#protocolFeatures !== 0n) await requester.tell('SET_VRING_ENABLE', { index: queue, num: 0 });
      const { num } = await requester.ask('GET_VRING_BASE', { index: queue, num: 0 });
      if (num > 0xffff) throw new VhostError('ERR_VHOST_PROTOCOL', `vhost-user: a vring base of ${num}`);
      ring.base = num;
      ring.running = false;
    } catch (error) {
      if (requester.isOpen) throw error;
      // The device is gone, and has let go of every buffer.
      this.#stop(queue);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#requester.close();
    this.#memory = undefined;
    this.#inflight?.close();
  }

  #offers(feature: ProtocolFeature): boolean {
    return (this.#protocolFeatures & protocolFeatureBits(feature)) !== 0n;
  }

  /** The features of the rings, with those that this side agrees on by itself. */
  #onTheWire(features: bigint): bigint {
    return (
      features |
      (this.#protocolFeatures === 0n ? 0n : bit(VHOST_USER_F_PROTOCOL_FEATURES)) |
      (this.#rings.length > 2 ? this.#offered & bit(VIRTIO_NET_F_MQ) : 0n)
    );
  }

  /** What stands at the beginning of every connection. */
  async #greet(): Promise<void> {
    const requester = this.#requester;
    void requester.ended.then(() => this.#lost(requester));
    this.#offered = await requester.ask('GET_FEATURES', undefined);
    this.#protocolFeatures = 0n;
    if ((this.#offered & bit(VHOST_USER_F_PROTOCOL_FEATURES)) !== 0n) {
      const agreed = (await requester.ask('GET_PROTOCOL_FEATURES', undefined)) & WANTED;
      await requester.tell('SET_PROTOCOL_FEATURES', agreed);
      this.#protocolFeatures = agreed;
      requester.acknowledged = this.#offers('REPLY_ACK');
    }
    if (this.#rings.length === 2) return;
    const pairs = this.#offers('MQ') ? await requester.ask('GET_QUEUE_NUM', undefined) : 1n;
    if (pairs * 2n < this.#rings.length)
      throw unsupported(`${this.#rings.length / 2} queue pairs; it has ${pairs}`);
  }

  /** The back-end, connected to anew where it was lost and told what it knew before. */
  async #connected(): Promise<Requester> {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', `${this.path} is closed`);
    if (this.#requester.isOpen) return this.#requester;
    const requester = new Requester(
      this.#kernel,
      UnixConnection.connect(this.#kernel, this.path, replyFraming),
    );
    this.#requester = requester;
    this.#told.clear();
    this.#inflightTold = false;
    try {
      await this.#greet();
      if (this.#owned) await requester.tell('SET_OWNER', undefined);
      if (this.#memory !== undefined) await this.#tellMemory(requester, this.#memory);
      if (this.#log !== undefined) await this.#tellLog(requester, this.#log);
      if (this.#logFd !== -1) await requester.tell('SET_LOG_FD', undefined, [this.#logFd]);
      if (this.#features !== undefined) await requester.tell('SET_FEATURES', this.#onTheWire(this.#features));
      return requester;
    } catch (error) {
      requester.close();
      throw error;
    }
  }

  async #tellMemory(requester: Requester, memory: GuestMemory): Promise<void> {
    const table = memory.regions.map((region) => ({ region, told: describe(region) }));
    if (!this.#offers('CONFIGURE_MEM_SLOTS')) {
      if (table.length > MAX_TABLE_REGIONS)
        throw wrongValue('memory', `made of at most ${MAX_TABLE_REGIONS} regions`, table.length);
      await requester.tell(
        'SET_MEM_TABLE',
        table.map(({ told }) => told),
        table.map(({ region }) => region.fd),
      );
      return;
    }
    for (const [region, told] of this.#told) {
      if (memory.regions.includes(region)) continue;
      await requester.tell('REM_MEM_REG', told);
      this.#told.delete(region);
    }
    for (const { region, told } of table) {
      if (this.#told.has(region)) continue;
      await requester.tell('ADD_MEM_REG', told, [region.fd]);
      this.#told.set(region, told);
    }
  }

  async #tellLog(requester: Requester, { fd, offset = 0, size }: LogFile): Promise<void> {
    await requester.ask('SET_LOG_BASE', { size: BigInt(size), offset: BigInt(offset) }, [fd]);
  }

  /** Where the back-end notes what it has in flight: what the one before it noted, or new memory, made by it. */
  async #tellInflight(requester: Requester): Promise<void> {
    if (!this.#offers('INFLIGHT_SHMFD')) return;
    const queues = this.#rings.length;
    const queueSize = Math.max(...this.#rings.map(({ size }) => size));
    const before = this.#inflight;
    if (before !== undefined && before.area.queueSize >= queueSize) {
      if (!this.#inflightTold) await requester.tell('SET_INFLIGHT_FD', before.area, [before.file.fd]);
    } else {
      const { reply, fds } = await requester.askFor('GET_INFLIGHT_FD', {
        size: 0n,
        offset: 0n,
        queues,
        queueSize,
      });
      try {
        this.#inflight = InflightMemory.given(this.#kernel, { ...reply, queues, queueSize }, fds[0]!);
      } catch (error) {
        this.#kernel.descriptor.close(fds[0]!);
        throw error;
      }
      before?.close();
    }
    this.#inflightTold = true;
  }

  async #tellAddresses(requester: Requester, queue: number, addresses: VringAddresses): Promise<void> {
    await requester.tell('SET_VRING_ADDR', {
      index: queue,
      flags: addresses.flags & (1 << VHOST_VRING_F_LOG),
      descriptorTable: addresses.descriptorTable,
      usedRing: addresses.usedRing,
      availableRing: addresses.availableRing,
      log: addresses.log,
    });
  }

  #lost(requester: Requester): void {
    if (this.#closed || requester !== this.#requester) return;
    for (const [queue, ring] of this.#rings.entries()) {
      if (!ring.running) continue;
      this.#stop(queue);
      if (ring.err !== -1) undo(() => this.#kernel.eventfd.signal(ring.err));
    }
  }

  /** Notes that a queue stopped without a word from the device: at its used index, and as much further as it had. */
  #stop(queue: number): void {
    const ring = this.#ring(queue);
    ring.running = false;
    const used = this.#memory && usedIndex(this.#memory, ring.addresses);
    if (used === undefined) return;
    const had = this.#inflight?.of(queue, ring.size)?.recover(used);
    ring.base = advance(used, had?.length ?? 0);
  }

  #ring(queue: number): Ring {
    const ring = this.#rings[queue];
    if (ring === undefined) throw wrongValue('queue', `from 0 to ${this.#rings.length - 1}`, queue);
    return ring;
  }

  #stopped(queue: number): Ring {
    const ring = this.#ring(queue);
    if (ring.running) throw new VhostError('ERR_VHOST_IN_USE', `queue ${queue} runs`, { queue });
    return ring;
  }
}

function newRing(): Ring {
  return { size: 0, base: 0, addresses: undefined, kick: -1, call: -1, err: -1, running: false };
}

function tellFile(requester: Requester, index: number, file: RingFile, fd: number): Promise<void> {
  const names = { kick: 'SET_VRING_KICK', call: 'SET_VRING_CALL', err: 'SET_VRING_ERR' } as const;
  const hasFd = fd !== -1;
  return requester.tell(names[file], { index, hasFd }, hasFd ? [fd] : []);
}

function describe(region: Region): MemoryRegion {
  return {
    guestPhysicalAddress: BigInt(region.guestPhysicalAddress),
    size: BigInt(region.size),
    userAddress: region.userAddress,
    offset: BigInt(region.fdOffset),
  };
}

/** The index of a used ring in our own memory. */
function usedIndex(memory: GuestMemory, addresses: VringAddresses | undefined): number | undefined {
  if (addresses === undefined) return undefined;
  for (const { userAddress, size, buffer } of memory.regions) {
    const offset = addresses.usedRing - userAddress;
    if (offset < 0n || offset + 4n > BigInt(size)) continue;
    return Atomics.load(new Uint16Array(buffer, Number(offset) + VRING_USED_IDX_OFFSET, 1), 0);
  }
  return undefined;
}

function unsupported(what: string): VhostError {
  return new VhostError('ERR_VHOST_UNSUPPORTED', `the back-end or the protocol lacks ${what}`);
}
