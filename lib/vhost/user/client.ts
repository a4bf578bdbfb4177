import { bit } from '../../abi/bit.js';
import { VHOST_NET_F_VIRTIO_NET_HDR, VHOST_VRING_F_LOG } from '../../abi/vhost.js';
import { VRING_USED_IDX_OFFSET } from '../../abi/virtio-ring.js';
import { wrongValue } from '../../errors/check.js';
import { VhostError } from '../../errors/errors.js';
import { undo } from '../../errors/undo.js';
import { hostKernel } from '../../kernel/host.js';
import type { Kernel, VringAddresses } from '../../kernel/kernel.js';
import type { GuestMemory } from '../../memory/guest-memory.js';
import type { Region } from '../../memory/region.js';
import { UnixConnection } from '../../socket/unix-connection.js';
import { checkRingSize } from '../../vring/layout.js';
import type { LogFile, Vhost } from '../vhost.js';
import {
  MAX_TABLE_REGIONS,
  type MemoryRegion,
  type ProtocolFeature,
  protocolFeatureBits,
  replyFraming,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from './protocol.js';
import { Requester } from './requester.js';

export interface VhostUserClientOptions {
  /** The unix socket at which the back-end listens. */
  readonly path: string;
  /** The operating system; this host by default. */
  readonly kernel?: Kernel;
}

/** Protocol features that are used where the back-end offers them. */
const WANTED = protocolFeatureBits('MQ', 'LOG_SHMFD', 'REPLY_ACK', 'CONFIGURE_MEM_SLOTS');

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

/**
 * A vhost net device in another process, spoken to as vhost-user: the front-end's side, as one more `Vhost`. The other
 * process maps the memory; so its regions are memfds, as those of `GuestMemory` are. What the backend behind it is, it
 * knows by itself: `setBackend` only starts a queue.
 *
 * When the connection is lost, each running queue is stopped and its error eventfd signalled; the next `setBackend`
 * connects anew and tells the back-end everything again.
 */
export class VhostUserClient implements Vhost {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #rings: readonly [Ring, Ring] = [newRing(), newRing()];
  #requester: Requester;
  #protocolFeatures = 0n;
  #features: bigint | undefined;
  #owned = false;
  #memory: GuestMemory | undefined;
  /** Regions as the back-end was told of them one by one. */
  readonly #told = new Map<Region, MemoryRegion>();
  #log: LogFile | undefined;
  #logFd = -1;
  #closed = false;

  private constructor(kernel: Kernel, path: string, requester: Requester) {
    this.#kernel = kernel;
    this.path = path;
    this.#requester = requester;
  }

  /** Connects to the back-end. ENOENT, ECONNREFUSED: nobody listens at `path`. */
  static async connect({ path, kernel = hostKernel() }: VhostUserClientOptions): Promise<VhostUserClient> {
    return VhostUserClient.over(UnixConnection.connect(kernel, path, replyFraming), path, kernel);
  }

  /** Speaks to a back-end that connected, or was given, to this process; `path` is where to find it again. */
  static async over(
    connection: UnixConnection,
    path: string,
    kernel = hostKernel(),
  ): Promise<VhostUserClient> {
    const client = new VhostUserClient(kernel, path, new Requester(connection));
    try {
      await client.#greet();
      return client;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** VHOST_USER_GET_FEATURES, without what vhost-user and the kernel mean by bits of their own. */
  async getFeatures(): Promise<bigint> {
    const offered = await (await this.#connected()).ask('GET_FEATURES', undefined);
    // Bit 27 is ANY_LAYOUT here: no back-end supplies headers.
    return offered & ~bit(VHOST_USER_F_PROTOCOL_FEATURES) & ~bit(VHOST_NET_F_VIRTIO_NET_HDR);
  }

  /** VHOST_USER_SET_FEATURES; told anew to a back-end that is connected to again. */
  async setFeatures(features: bigint): Promise<void> {
    const requester = await this.#connected();
    await requester.tell('SET_FEATURES', this.#withProtocol(features));
    this.#features = features;
  }

  /** VHOST_USER_SET_OWNER: the session begins. */
  async setOwner(): Promise<void> {
    await (await this.#connected()).tell('SET_OWNER', undefined);
    this.#owned = true;
  }

  /**
   * VHOST_USER_SET_MEM_TABLE, or ADD_MEM_REG and REM_MEM_REG for what changed; the regions' memfds go with them.
   * ERR_VHOST_OUT_OF_RANGE: more regions than the back-end takes; 8 unless it has CONFIGURE_MEM_SLOTS.
   */
  async setMemTable(memory: GuestMemory): Promise<void> {
    await this.#tellMemory(await this.#connected(), memory);
    memory.hold(this);
    if (this.#memory === memory) return;
    this.#memory?.drop(this);
    this.#memory = memory;
  }

  /** VHOST_USER_SET_LOG_BASE with the log's memfd. ERR_VHOST_UNSUPPORTED: the back-end does not log (LOG_SHMFD). */
  async setLogBase(_address: bigint, file?: LogFile): Promise<void> {
    if (file === undefined)
      throw wrongValue('file', 'given: another process cannot reach an address of this', file);
    const requester = await this.#connected();
    if (!this.#offers('LOG_SHMFD')) throw unsupported('a dirty log (LOG_SHMFD)');
    await this.#tellLog(requester, file);
    this.#log = file;
  }

  /** VHOST_USER_SET_LOG_FD. ERR_VHOST_UNSUPPORTED for -1: the protocol cannot take it back. */
  async setLogFd(logFd: number): Promise<void> {
    if (logFd === -1) throw unsupported('to take back the eventfd of the log');
    await (await this.#connected()).tell('SET_LOG_FD', undefined, [logFd]);
    this.#logFd = logFd;
  }

  /** Descriptors, a power of two up to 32,768; told when the queue starts. ERR_VHOST_IN_USE: it runs. */
  setVringNum(queue: number, size: number): void {
    this.#stopped(queue).size = checkRingSize('size', size);
  }

  /** The available index at which the device begins; told when the queue starts. ERR_VHOST_IN_USE: it runs. */
  setVringBase(queue: number, base: number): void {
    this.#stopped(queue).base = base;
  }

  /**
   * Where the device stopped. After the connection was lost that is the used index: what it had taken and not returned,
   * nobody knows.
   */
  getVringBase(queue: number): number {
    return this.#stopped(queue).base;
  }

  /** VHOST_USER_SET_VRING_ADDR: user addresses of the parts; told at once where the queue runs, otherwise when it starts. */
  async setVringAddr(queue: number, addresses: VringAddresses): Promise<void> {
    const ring = this.#ring(queue);
    if (ring.running) await this.#tellAddresses(this.#requester, queue, addresses);
    ring.addresses = { ...addresses };
  }

  /** VHOST_USER_SET_VRING_KICK: an eventfd, -1 for polling; told at once where the queue runs, otherwise when it starts. */
  setVringKick(queue: number, eventFd: number): Promise<void> {
    return this.#setFile(queue, 'kick', eventFd);
  }

  /** VHOST_USER_SET_VRING_CALL: an eventfd, -1 for none; told as `setVringKick` does. */
  setVringCall(queue: number, eventFd: number): Promise<void> {
    return this.#setFile(queue, 'call', eventFd);
  }

  /** VHOST_USER_SET_VRING_ERR: an eventfd, -1 for none; told as `setVringKick` does. */
  setVringErr(queue: number, eventFd: number): Promise<void> {
    return this.#setFile(queue, 'err', eventFd);
  }

  /** ERR_VHOST_UNSUPPORTED: vhost-user has no such request. */
  setVringBusyloopTimeout(): void {
    throw unsupported('a busy-loop timeout');
  }

  /** Starts the queue; the descriptor says nothing to a device in another process, but for -1. */
  async setBackend(queue: number, backendFd: number): Promise<void> {
    if (backendFd === -1) return this.detachBackend(queue);
    const requester = await this.#connected();
    const ring = this.#ring(queue);
    if (ring.running) return;
    if (ring.addresses === undefined) throw wrongValue('queue', 'one whose addresses are set', queue);
    await requester.tell('SET_VRING_NUM', { index: queue, num: ring.size });
    await requester.tell('SET_VRING_BASE', { index: queue, num: ring.base });
    await this.#tellAddresses(requester, queue, ring.addresses);
    for (const file of ['call', 'err', 'kick'] as const) await tellFile(requester, queue, file, ring[file]);
    if (this.#protocolFeatures !== 0n) await requester.tell('SET_VRING_ENABLE', { index: queue, num: 1 });
    ring.running = true;
  }

  /**
   * VHOST_USER_SET_VRING_ENABLE with 0, then GET_VRING_BASE, which stops the queue; resolves when the device has let go of
   * its buffers. Where the connection is lost meanwhile it has too. ERR_VHOST_PROTOCOL: the base is none.
   */
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
      this.#stop(ring);
    }
  }

  /** Ends the session: the back-end stops and lets go of the memory. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#requester.close();
    this.#memory?.drop(this);
    this.#memory = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #offers(feature: ProtocolFeature): boolean {
    return (this.#protocolFeatures & protocolFeatureBits(feature)) !== 0n;
  }

  #withProtocol(features: bigint): bigint {
    return features | (this.#protocolFeatures === 0n ? 0n : bit(VHOST_USER_F_PROTOCOL_FEATURES));
  }

  /** What stands at the beginning of every connection. */
  async #greet(): Promise<void> {
    const requester = this.#requester;
    void requester.ended.then(() => this.#lost(requester));
    const features = await requester.ask('GET_FEATURES', undefined);
    this.#protocolFeatures = 0n;
    if ((features & bit(VHOST_USER_F_PROTOCOL_FEATURES)) === 0n) return;
    const agreed = (await requester.ask('GET_PROTOCOL_FEATURES', undefined)) & WANTED;
    await requester.tell('SET_PROTOCOL_FEATURES', agreed);
    this.#protocolFeatures = agreed;
    requester.acknowledged = this.#offers('REPLY_ACK');
  }

  /** The back-end, connected to anew where it was lost and told what it knew before. */
  async #connected(): Promise<Requester> {
    if (this.#closed) throw new VhostError('ERR_VHOST_CLOSED', `${this.path} is closed`);
    if (this.#requester.isOpen) return this.#requester;
    const requester = new Requester(UnixConnection.connect(this.#kernel, this.path, replyFraming));
    this.#requester = requester;
    this.#told.clear();
    try {
      await this.#greet();
      if (this.#owned) await requester.tell('SET_OWNER', undefined);
      if (this.#memory !== undefined) await this.#tellMemory(requester, this.#memory);
      if (this.#log !== undefined) await this.#tellLog(requester, this.#log);
      if (this.#logFd !== -1) await requester.tell('SET_LOG_FD', undefined, [this.#logFd]);
      if (this.#features !== undefined)
        await requester.tell('SET_FEATURES', this.#withProtocol(this.#features));
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

  async #setFile(queue: number, file: 'kick' | 'call' | 'err', fd: number): Promise<void> {
    const ring = this.#ring(queue);
    if (ring.running) await tellFile(this.#requester, queue, file, fd);
    ring[file] = fd;
  }

  #lost(requester: Requester): void {
    if (this.#closed || requester !== this.#requester) return;
    for (const ring of this.#rings) {
      if (!ring.running) continue;
      this.#stop(ring);
      if (ring.err !== -1) undo(() => this.#kernel.eventfd.signal(ring.err));
    }
  }

  /** Notes that a queue stopped without a word from the device. */
  #stop(ring: Ring): void {
    ring.running = false;
    const place = this.#memory && usedIndex(this.#memory, ring.addresses);
    if (place !== undefined) ring.base = place;
  }

  #ring(queue: number): Ring {
    const ring = this.#rings[queue];
    if (ring === undefined) throw wrongValue('queue', '0 or 1', queue);
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

function tellFile(
  requester: Requester,
  index: number,
  file: 'kick' | 'call' | 'err',
  fd: number,
): Promise<void> {
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
