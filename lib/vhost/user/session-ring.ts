import { bit } from '../../abi/bit.js';
import { VHOST_VRING_F_LOG } from '../../abi/vhost.js';
import {
  VIRTIO_RING_F_EVENT_IDX,
  VRING_AVAIL_ELEM_SIZE,
  VRING_AVAIL_EVENT_SIZE,
  VRING_AVAIL_RING_OFFSET,
  VRING_DESC_SIZE,
  VRING_USED_ELEM_SIZE,
  VRING_USED_EVENT_SIZE,
  VRING_USED_RING_OFFSET,
} from '../../abi/virtio-ring.js';
import { checkInteger, wrongValue } from '../../errors/check.js';
import { VhostError } from '../../errors/errors.js';
import { undo } from '../../errors/undo.js';
import type { Kernel, VringAddresses } from '../../kernel/kernel.js';
import { checkRingSize } from '../../vring/layout.js';
import type { Awaitable, Vhost } from '../vhost.js';
import type { DevicePair } from './device.js';
import type { FrontEndLog, FrontEndMemory } from './front-end-memory.js';
import type { InflightMemory } from './inflight-memory.js';
import type { VringAddress } from './protocol.js';

/** What a ring is reached by and logged in. */
export interface RingSurroundings {
  readonly features: bigint;
  readonly memory: FrontEndMemory;
  readonly log: FrontEndLog | undefined;
  readonly inflight: InflightMemory | undefined;
}

/** The eventfds of a vring; of the kick, `undefined` before it is told and -1 where the front-end will not kick. */
type File = 'kick' | 'call' | 'err';

/**
 * One vring of a connection: what the front-end said of it, and the queue of a device that it becomes. It starts when
 * all of it is told and it is enabled ("Ring states"); until then the device knows nothing of it, so that the
 * front-end may say things in any order.
 */
export class SessionRing {
  enabled = false;
  readonly #kernel: Kernel;
  readonly #pair: DevicePair;
  /** Of the connection, … */
  readonly #index: number;
  /** … and of the pair: 0 or 1. */
  readonly #queue: number;
  readonly #files: Record<File, number | undefined> = { kick: undefined, call: undefined, err: undefined };
  #size = 0;
  #base = 0;
  #address: VringAddress | undefined;
  #running = false;

  constructor(kernel: Kernel, pair: DevicePair, index: number) {
    this.#kernel = kernel;
    this.#pair = pair;
    this.#index = index;
    this.#queue = index % 2;
  }

  get running(): boolean {
    return this.#running;
  }

  get vhost(): Vhost {
    return this.#pair.vhost;
  }

  setSize(size: number): void {
    checkRingSize('num', size);
    this.#expectStopped('VRING_NUM');
    this.#size = size;
  }

  setBase(base: number): void {
    checkInteger('num', base, 0, 0xffff);
    this.#expectStopped('VRING_BASE');
    this.#base = base;
  }

  /** Takes effect at once on a ring that runs: so a dirty log is turned on and off. */
  async setAddress(address: VringAddress, surroundings: RingSurroundings): Promise<void> {
    if ((address.flags & ~(1 << VHOST_VRING_F_LOG)) !== 0)
      throw wrongValue('flags', 'none but VHOST_VRING_F_LOG', address.flags);
    if (this.#running) await this.vhost.setVringAddr(this.#queue, this.#translate(address, surroundings));
    this.#address = address;
  }

  /** Takes over an eventfd, -1 for none. */
  async setFile(file: File, fd: number): Promise<void> {
    const before = this.#files[file];
    try {
      if (this.#running) await this.#tell(file, fd);
    } catch (error) {
      this.#close(fd);
      throw error;
    }
    this.#files[file] = fd;
    this.#close(before);
  }

  /** Starts the queue if all is there that it takes. */
  async startIfReady(surroundings: RingSurroundings): Promise<void> {
    if (this.#running || !this.enabled || this.#address === undefined || this.#files.kick === undefined)
      return;
    await this.#start(this.#address, surroundings);
  }

  /** Stops the queue; the available index that the device would take next. */
  async stop(): Promise<number> {
    if (!this.#running) return this.#base;
    await this.vhost.detachBackend(this.#queue);
    this.#running = false;
    this.#pair.serve?.(this.#queue, false);
    this.#base = await this.vhost.getVringBase(this.#queue);
    return this.#base;
  }

  /** After GET_VRING_BASE the ring starts only with a new kick descriptor. */
  forgetKick(): void {
    this.#close(this.#files.kick);
    this.#files.kick = undefined;
  }

  /** Whether the ring would still be inside this memory. */
  fits(surroundings: RingSurroundings): boolean {
    try {
      if (this.#address !== undefined) this.#translate(this.#address, surroundings);
      return true;
    } catch {
      return false;
    }
  }

  /** The guest physical address behind the last one that logging of the used ring marks; 0 where it does not. */
  get logEnd(): bigint {
    if (this.#address === undefined || (this.#address.flags & (1 << VHOST_VRING_F_LOG)) === 0) return 0n;
    return this.#address.log + BigInt(this.#bytes(true).usedRing);
  }

  /** Closes the descriptors of a ring that is stopped. */
  close(): void {
    for (const fd of Object.values(this.#files)) this.#close(fd);
  }

  async #start(address: VringAddress, surroundings: RingSurroundings): Promise<void> {
    if (this.#size === 0) throw wrongValue('ring', 'told its size before it starts', 'no SET_VRING_NUM');
    if (this.#files.kick === -1)
      throw new VhostError(
        'ERR_VHOST_UNSUPPORTED',
        'a ring without a kick descriptor: this back-end does not poll',
      );
    const { vhost } = this;
    const queue = this.#queue;
    const addresses = this.#translate(address, surroundings);
    await vhost.setVringNum(queue, this.#size);
    await vhost.setVringBase(queue, this.#base);
    await vhost.setVringAddr(queue, addresses);
    await this.#track(surroundings.inflight);
    for (const file of ['kick', 'call', 'err'] as const) await this.#tell(file, this.#files[file] ?? -1);
    this.#pair.serve?.(queue, true);
    try {
      await vhost.setBackend(queue, this.#pair.backendFd);
    } catch (error) {
      this.#pair.serve?.(queue, false);
      throw error;
    }
    this.#running = true;
  }

  async #track(inflight: InflightMemory | undefined): Promise<void> {
    const start = inflight?.start(this.#index);
    if (start === undefined) return this.vhost.setVringInflight?.(this.#queue, undefined, 0);
    const { file, area } = inflight!;
    if (this.#size > area.queueSize)
      throw wrongValue(
        'ring',
        `of at most ${area.queueSize} descriptors, as its in-flight memory`,
        this.#size,
      );
    await this.vhost.setVringInflight?.(this.#queue, file, start);
  }

  #tell(file: File, fd: number): Awaitable<void> {
    switch (file) {
      case 'kick':
        return this.vhost.setVringKick(this.#queue, fd);
      case 'call':
        return this.vhost.setVringCall(this.#queue, fd);
      case 'err':
        return this.vhost.setVringErr(this.#queue, fd);
    }
  }

  #translate(address: VringAddress, { features, memory, log }: RingSurroundings): VringAddresses {
    const bytes = this.#bytes((features & bit(VIRTIO_RING_F_EVENT_IDX)) !== 0n);
    const place = (part: keyof typeof bytes): bigint => {
      const found = memory.translate(address[part], bytes[part]);
      if (found === undefined)
        throw wrongValue(part, `${bytes[part]} bytes inside one region`, `0x${address[part].toString(16)}`);
      return found;
    };
    if ((address.flags & (1 << VHOST_VRING_F_LOG)) !== 0) {
      if (log === undefined) throw wrongValue('flags', 'without VHOST_VRING_F_LOG where there is no log', 1);
      log.checkCovers(address.log + BigInt(bytes.usedRing));
    }
    return {
      flags: address.flags,
      descriptorTable: place('descriptorTable'),
      availableRing: place('availableRing'),
      usedRing: place('usedRing'),
      log: address.log,
    };
  }

  #bytes(events: boolean): Readonly<Record<'descriptorTable' | 'availableRing' | 'usedRing', number>> {
    const available = VRING_AVAIL_RING_OFFSET + this.#size * VRING_AVAIL_ELEM_SIZE;
    const used = VRING_USED_RING_OFFSET + this.#size * VRING_USED_ELEM_SIZE;
    return {
      descriptorTable: this.#size * VRING_DESC_SIZE,
      availableRing: available + (events ? VRING_USED_EVENT_SIZE : 0),
      usedRing: used + (events ? VRING_AVAIL_EVENT_SIZE : 0),
    };
  }

  #expectStopped(what: string): void {
    if (this.#running) throw new VhostError('ERR_VHOST_IN_USE', `SET_${what} of a ring that runs`);
  }

  #close(fd: number | undefined): void {
    if (fd !== undefined && fd !== -1) undo(() => this.#kernel.descriptor.close(fd));
  }
}
