import { bit } from '../../abi/bit.js';
import { VHOST_F_LOG_ALL, VHOST_NET_F_VIRTIO_NET_HDR } from '../../abi/vhost.js';
import { VIRTIO_F_ACCESS_PLATFORM } from '../../abi/virtio-config.js';
import { VIRTIO_NET_F_MQ } from '../../abi/virtio-net.js';
import { checkInteger, wrongValue } from '../../errors/check.js';
import { VhostError } from '../../errors/errors.js';
import { undo } from '../../errors/undo.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { Message } from '../../socket/framing.js';
import type { UnixConnection } from '../../socket/unix-connection.js';
import type { Awaitable } from '../vhost.js';
import type { VhostUserDevice } from './device.js';
import { FrontEndLog, FrontEndMemory } from './front-end-memory.js';
import { InflightMemory } from './inflight-memory.js';
import {
  decodeRequest,
  encodeAcknowledgement,
  encodeReply,
  hasAnswer,
  type MemoryRegion,
  protocolFeatureBits,
  type ReplyPayload,
  type Request,
  type RequestName,
  type RequestPayload,
  requestId,
  VHOST_USER_F_PROTOCOL_FEATURES,
  type VringFile,
} from './protocol.js';
import { type RingSurroundings, SessionRing } from './session-ring.js';

/** Regions that may be added one by one; the kernel's vhost takes 64 unless told otherwise. */
const MAX_MEM_SLOTS = 64;

/**
 * Bits that a vhost device may offer and a vhost-user front-end must not agree on: bit 27 means another thing to
 * each (ANY_LAYOUT, and that vhost supplies the virtio-net header), and there is no channel for IOTLB misses.
 */
const WITHHELD = bit(VHOST_NET_F_VIRTIO_NET_HDR) | bit(VIRTIO_F_ACCESS_PLATFORM);

/** Descriptors that came with a request; those that nobody takes are closed. */
interface Descriptors {
  /** The next one. ERR_VHOST_PROTOCOL: there is none. */
  take(): number;
  /** One that goes with the answer, and stays whose it is. */
  give(fd: number): void;
}

type Handlers = {
  [N in RequestName]: (
    payload: RequestPayload<N>,
    fds: Descriptors,
  ) => Awaitable<ReplyPayload<N> extends undefined ? void : ReplyPayload<N>>;
};

/**
 * One front-end's connection: its requests, in order, turned into those of `Vhost`. Whatever the front-end sends or
 * leaves out, only this connection ends by it.
 */
export class VhostUserSession {
  readonly connection: UnixConnection;
  readonly #kernel: Kernel;
  readonly #device: VhostUserDevice;
  readonly #rings: SessionRing[];
  readonly #refused: (request: RequestName, error: unknown) => void;
  readonly #protocolFeatures: bigint;
  #memory: FrontEndMemory;
  #log: FrontEndLog | undefined;
  #inflight: InflightMemory | undefined;
  /** Lets go of what a device may still reach for, once it is closed. */
  readonly #remains: (() => void)[] = [];
  #features = 0n;
  #agreedProtocol = 0n;
  #owned = false;
  #status = 0;

  /** `refused` is told of each request that the front-end was told was not done. */
  constructor(
    kernel: Kernel,
    connection: UnixConnection,
    device: VhostUserDevice,
    refused: (request: RequestName, error: unknown) => void = () => {},
  ) {
    this.#kernel = kernel;
    this.connection = connection;
    this.#device = device;
    this.#refused = refused;
    this.#memory = new FrontEndMemory(this.#kernel);
    this.#rings = device.pairs.flatMap((pair, i) =>
      [2 * i, 2 * i + 1].map((index) => new SessionRing(kernel, pair, index)),
    );
    const tracks = device.pairs.length > 0 && device.pairs.every(({ vhost }) => vhost.setVringInflight);
    this.#protocolFeatures =
      protocolFeatureBits('MQ', 'LOG_SHMFD', 'REPLY_ACK', 'CONFIGURE_MEM_SLOTS', 'STATUS') |
      (tracks ? protocolFeatureBits('INFLIGHT_SHMFD') : 0n) |
      (device.setMtu === undefined ? 0n : protocolFeatureBits('NET_MTU'));
  }

  /** The feature bits agreed on. */
  get features(): bigint {
    return this.#features;
  }

  /** Queues that run. */
  get running(): number[] {
    return [...this.#rings.keys()].filter((index) => this.#rings[index]!.running);
  }

  /**
   * Serves the connection to its end, from a message on that was received before. Rejects with what ended it, where that
   * was not the front-end's wish.
   */
  async run(first?: Message): Promise<void> {
    try {
      if (first !== undefined) await this.#serve(first);
      for await (const message of this.connection) await this.#serve(message);
    } finally {
      await this.#close();
    }
  }

  async #serve({ bytes, fds }: Message): Promise<void> {
    const left = [...fds];
    const take = (): number => {
      const fd = left.shift();
      if (fd === undefined) throw new VhostError('ERR_VHOST_PROTOCOL', 'vhost-user: a descriptor is missing');
      return fd;
    };
    try {
      const request = decodeRequest(bytes, fds.length);
      if (request.name === undefined) {
        // A front-end that asks for an answer can live with a refusal.
        if (!request.needReply || !this.#acknowledges)
          throw new VhostError('ERR_VHOST_PROTOCOL', `vhost-user: request ${request.id} is not known`);
        await this.connection.send(encodeAcknowledgement(request.id, false));
        return;
      }
      await this.#answer(request, take);
    } finally {
      for (const fd of left) undo(() => this.#kernel.descriptor.close(fd));
    }
  }

  async #answer({ name, payload, needReply }: Request, take: Descriptors['take']): Promise<void> {
    const given: number[] = [];
    const fds: Descriptors = { take, give: (fd) => void given.push(fd) };
    const acknowledge = needReply && this.#acknowledges && !hasAnswer(name);
    const handler = this.#handlers[name] as (payload: unknown, fds: Descriptors) => Awaitable<never>;
    let answer: never;
    try {
      answer = await handler(payload, fds);
    } catch (error) {
      // A front-end that is not told would go on as if it were done.
      if (!acknowledge || !this.connection.isOpen) throw error;
      this.#refused(name, error);
      await this.connection.send(encodeAcknowledgement(requestId(name), false));
      return;
    }
    if (hasAnswer(name)) await this.connection.send(encodeReply(name, answer), given);
    else if (acknowledge) await this.connection.send(encodeAcknowledgement(requestId(name), true));
  }

  readonly #handlers: Handlers = {
    GET_FEATURES: () => this.#offered(),
    SET_FEATURES: (features) => this.#setFeatures(features),
    SET_OWNER: () => this.#setOwner(),
    // Deprecated; "it is recommended that back-ends either ignore this message, or use it to disable all rings".
    RESET_OWNER: async () => {
      for (const ring of this.#rings) {
        ring.enabled = false;
        await ring.stop();
      }
    },
    SET_MEM_TABLE: (table, fds) => this.#setMemTable(table, fds),
    SET_LOG_BASE: async (area, fds) => {
      const log = this.#taking(fds, (fd) => new FrontEndLog(this.#kernel, area, fd));
      try {
        log.checkCovers(this.#logEnd(this.#memory));
      } catch (error) {
        log.close();
        throw error;
      }
      await this.#orEnd(
        () => this.#toDevices(({ vhost }) => vhost.setLogBase(log.userAddress, log.file)),
        () => log.close(),
      );
      const before = this.#log;
      this.#log = log;
      before?.close();
      return 0n;
    },
    SET_LOG_FD: async (_, fds) => {
      const fd = fds.take();
      try {
        await this.#toDevices(({ vhost }) => vhost.setLogFd(fd));
      } finally {
        // The devices hold the eventfd, not the descriptor.
        this.#kernel.descriptor.close(fd);
      }
    },
    SET_VRING_NUM: ({ index, num }) => this.#ring(index).setSize(num),
    SET_VRING_ADDR: (address) => this.#ring(address.index).setAddress(address, this.#surroundings),
    SET_VRING_BASE: ({ index, num }) => this.#ring(index).setBase(num),
    GET_VRING_BASE: async ({ index }) => {
      const ring = this.#ring(index);
      const num = await ring.stop();
      ring.forgetKick();
      return { index, num };
    },
    SET_VRING_KICK: async (file, fds) => {
      const ring = this.#ring(file.index);
      await ring.setFile('kick', takeOrNone(file, fds));
      await ring.startIfReady(this.#surroundings);
    },
    SET_VRING_CALL: (file, fds) => this.#ring(file.index).setFile('call', takeOrNone(file, fds)),
    SET_VRING_ERR: (file, fds) => this.#ring(file.index).setFile('err', takeOrNone(file, fds)),
    GET_PROTOCOL_FEATURES: () => this.#protocolFeatures,
    SET_PROTOCOL_FEATURES: (features) => {
      if ((features & ~this.#protocolFeatures) !== 0n)
        throw wrongValue('protocol features', `among 0x${this.#protocolFeatures.toString(16)}`, features);
      this.#agreedProtocol = features;
    },
    // Of a net device every peer counts pairs.
    GET_QUEUE_NUM: () => BigInt(this.#device.pairs.length),
    SET_VRING_ENABLE: async ({ index, num }) => {
      const ring = this.#ring(index);
      checkInteger('num', num, 0, 1);
      ring.enabled = num === 1;
      if (ring.enabled) await ring.startIfReady(this.#surroundings);
      else await ring.stop();
    },
    NET_SET_MTU: (mtu) => {
      if (mtu > 0xffffn) throw wrongValue('mtu', 'at most 65535', mtu);
      if (this.#device.setMtu === undefined) throw notOffered('NET_MTU');
      return this.#device.setMtu(Number(mtu));
    },
    GET_INFLIGHT_FD: ({ queues, queueSize }, fds) => {
      this.#expectTracked(queues, queueSize);
      const inflight = InflightMemory.create(this.#kernel, queues, queueSize);
      this.#track(inflight);
      fds.give(inflight.file.fd);
      return inflight.area;
    },
    SET_INFLIGHT_FD: (area, fds) => {
      this.#expectTracked(area.queues, area.queueSize);
      this.#track(this.#taking(fds, (fd) => InflightMemory.given(this.#kernel, area, fd)));
    },
    GET_MAX_MEM_SLOTS: () => BigInt(MAX_MEM_SLOTS),
    ADD_MEM_REG: async (region, fds) => {
      if (this.#memory.count >= MAX_MEM_SLOTS)
        throw wrongValue('region', `one of ${MAX_MEM_SLOTS} at most`, region);
      this.#taking(fds, (fd) => this.#memory.add(region, fd));
      try {
        this.#checkLog(this.#features, this.#memory);
      } catch (error) {
        this.#memory.remove(region).unmap();
        throw error;
      }
      await this.#tellMemory(this.#memory);
    },
    REM_MEM_REG: async (told) => {
      const region = this.#memory.remove(told);
      await this.#orEnd(
        () => {
          for (const ring of this.#rings)
            if (ring.running && !ring.fits(this.#surroundings))
              throw new VhostError(
                'ERR_VHOST_PROTOCOL',
                'vhost-user: REM_MEM_REG of a region in which a ring runs',
              );
          return this.#tellMemory(this.#memory);
        },
        () => region.unmap(),
      );
      region.unmap();
    },
    SET_STATUS: async (status) => {
      this.#status = Number(status & 0xffn);
      // VIRTIO 1.3 §2.1 Device Status Field: 0 resets the device.
      if (this.#status === 0) for (const ring of this.#rings) await ring.stop();
    },
    GET_STATUS: () => BigInt(this.#status),
  };

  get #surroundings(): RingSurroundings {
    return { features: this.#features, memory: this.#memory, log: this.#log, inflight: this.#inflight };
  }

  get #acknowledges(): boolean {
    return (this.#agreedProtocol & protocolFeatureBits('REPLY_ACK')) !== 0n;
  }

  async #offered(): Promise<bigint> {
    let common = -1n;
    for (const { vhost } of this.#device.pairs) common &= await vhost.getFeatures();
    const several = this.#device.pairs.length > 1 ? bit(VIRTIO_NET_F_MQ) : 0n;
    const own = (this.#device.backendFeatures ?? 0n) | bit(VHOST_USER_F_PROTOCOL_FEATURES);
    return (common & ~WITHHELD) | several | own;
  }

  async #setFeatures(features: bigint): Promise<void> {
    const offered = await this.#offered();
    if ((features & ~offered) !== 0n)
      throw wrongValue('features', `among 0x${offered.toString(16)}`, `0x${features.toString(16)}`);
    this.#checkLog(features, this.#memory);
    await this.#device.agree?.(features);
    await this.#toDevices(async ({ vhost }) =>
      vhost.setFeatures(features & (await vhost.getFeatures()) & ~WITHHELD),
    );
    this.#features = features;
    // "the ring starts directly in the enabled state"
    if ((features & bit(VHOST_USER_F_PROTOCOL_FEATURES)) === 0n)
      for (const ring of this.#rings) ring.enabled = true;
  }

  async #setOwner(): Promise<void> {
    if (this.#owned) return;
    await this.#toDevices(({ vhost }) => vhost.setOwner());
    this.#owned = true;
  }

  /** Rings that run are stopped for it, and go on where they were: their addresses here are others. */
  async #setMemTable(table: readonly MemoryRegion[], fds: Descriptors): Promise<void> {
    const memory = new FrontEndMemory(this.#kernel);
    try {
      for (const region of table) this.#taking(fds, (fd) => memory.add(region, fd));
      this.#checkLog(this.#features, memory);
    } catch (error) {
      memory.close();
      throw error;
    }
    const stopped: SessionRing[] = [];
    await this.#orEnd(
      async () => {
        for (const ring of this.#rings) {
          if (!ring.running) continue;
          await ring.stop();
          stopped.push(ring);
        }
        await this.#tellMemory(memory);
      },
      () => memory.close(),
    );
    const before = this.#memory;
    this.#memory = memory;
    await this.#orEnd(
      async () => {
        for (const ring of stopped) await ring.startIfReady(this.#surroundings);
      },
      () => before.close(),
    );
    before.close();
  }

  /**
   * Does what changes a device. Where it fails the device may be left between the two: the connection ends, and what the
   * device may still reach for is let go with it.
   */
  async #orEnd(work: () => Awaitable<void>, letGo: () => void): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#remains.push(letGo);
      this.connection.close();
      throw error;
    }
  }

  /** Hands over a descriptor that came with a request; closes it where it is not taken. */
  #taking<T>(fds: Descriptors, take: (fd: number) => T): T {
    const fd = fds.take();
    try {
      return take(fd);
    } catch (error) {
      undo(() => this.#kernel.descriptor.close(fd));
      throw error;
    }
  }

  async #tellMemory({ memory }: FrontEndMemory): Promise<void> {
    await this.#setOwner();
    await this.#toDevices(({ vhost }) => vhost.setMemTable(memory));
  }

  /** Refuses to log into a bitmap that is missing or too short. */
  #checkLog(features: bigint, memory: FrontEndMemory): void {
    if ((features & bit(VHOST_F_LOG_ALL)) === 0n) return;
    if (this.#log === undefined)
      throw wrongValue('features', 'without VHOST_F_LOG_ALL before SET_LOG_BASE', features);
    this.#log.checkCovers(this.#logEnd(memory));
  }

  /** The guest physical address behind the last that is logged. */
  #logEnd({ memory }: FrontEndMemory): bigint {
    let end = memory.regions.length === 0 ? 0n : BigInt(memory.end);
    for (const { logEnd } of this.#rings) if (logEnd > end) end = logEnd;
    return end;
  }

  #expectTracked(queues: number, queueSize: number): void {
    if ((this.#protocolFeatures & protocolFeatureBits('INFLIGHT_SHMFD')) === 0n)
      throw notOffered('INFLIGHT_SHMFD');
    checkInteger('num_queues', queues, 1, this.#rings.length);
    checkInteger('queue_size', queueSize, 1, 0x8000);
    if (this.running.length > 0)
      throw new VhostError('ERR_VHOST_IN_USE', 'other in-flight memory for rings that run');
  }

  /** Has the heads in flight noted there from the next start of a ring on. */
  #track(inflight: InflightMemory): void {
    this.#inflight?.close();
    this.#inflight = inflight;
  }

  async #toDevices(request: (pair: VhostUserDevice['pairs'][number]) => Awaitable<void>): Promise<void> {
    for (const pair of this.#device.pairs) await request(pair);
  }

  #ring(index: number): SessionRing {
    const ring = this.#rings[index];
    if (ring === undefined) throw wrongValue('index', `a queue from 0 to ${this.#rings.length - 1}`, index);
    return ring;
  }

  /** Stops the queues, lets go of the device and then of the memory, whatever fails on the way. */
  async #close(): Promise<void> {
    this.connection.close();
    const failures: unknown[] = [];
    const step = async (work: () => Awaitable<unknown>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        failures.push(error);
      }
    };
    for (const ring of this.#rings) await step(() => ring.stop());
    await step(() => this.#device.close());
    for (const ring of this.#rings) await step(() => ring.close());
    await step(() => this.#memory.close());
    for (const letGo of this.#remains) await step(letGo);
    await step(() => this.#log?.close());
    await step(() => this.#inflight?.close());
    if (failures.length > 0) throw failures[0];
  }
}

function takeOrNone({ hasFd }: VringFile, fds: Descriptors): number {
  return hasFd ? fds.take() : -1;
}

function notOffered(feature: string): VhostError {
  return new VhostError('ERR_VHOST_UNSUPPORTED', `the protocol feature ${feature} was not offered`);
}
