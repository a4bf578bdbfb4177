import { bit } from '../abi/bit.js';
import { VHOST_BACKEND_F_IOTLB_MSG_V2 } from '../abi/vhost.js';
import { wrongType, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Poller } from '../kernel/kernel.js';
import { allows, type IotlbAccess } from './iotlb-message.js';
import type { Awaitable, Vhost } from './vhost.js';

/** What stands behind an I/O virtual address: `size` bytes from `iova` are those at `userAddress`. */
export interface Translation {
  readonly iova: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
  /** All that the device may do there, not only what it wants now. */
  readonly access: IotlbAccess;
}

/** Answers what a device cannot translate: an IOMMU. */
export interface Translator {
  /** The translation of an address, as large as may be; `undefined` where there is none. It may be found out later. */
  translate(iova: bigint, access: IotlbAccess): Awaitable<Translation | undefined>;
  /** A device asks from now on, and is to be told of what is no longer so (`Iotlb.invalidate`). */
  attach?(iotlb: Iotlb): void;
  /** It asks no more. */
  detach?(iotlb: Iotlb): void;
}

/** A range of I/O virtual addresses. */
interface IovaRange {
  readonly iova: bigint;
  readonly size: bigint;
}

/**
 * The driver's side of a device's IOTLB (VIRTIO_F_ACCESS_PLATFORM): the device keeps translations, asks for one that it
 * lacks and waits; here they are looked up and told. Like the IOTLB of vhost_process_iotlb_msg(), it forgets at will,
 * so that every miss is answered, whatever was told before.
 *
 * A miss that has no translation, or one that does not allow what the device wants, is a fault: the device has no way
 * to be told of it, and its queue waits until it is detached or the address is mapped and the queue kicked.
 */
export class Iotlb {
  readonly translator: Translator;
  /** Addresses that the device could not translate. */
  misses = 0;
  /** Translations told. */
  updates = 0;
  /** Ranges taken back. */
  invalidations = 0;
  /** Misses that could not be answered. */
  faults = 0;
  readonly #vhost: Vhost;
  readonly #faulted: (error: VhostError) => void;
  /** Misses that are being answered. */
  readonly #asked = new Set<string>();
  /** By address that is being looked up: the ranges taken back meanwhile. */
  readonly #lookups = new Set<IovaRange[]>();
  #watch: Poller | undefined;
  #referenced = true;
  #open = true;
  /** Settled unless the device is inside a request during which it takes no message. */
  #held: Promise<unknown> = Promise.resolve();
  #holds = 0;

  private constructor(vhost: Vhost, translator: Translator, faulted: (error: VhostError) => void) {
    this.#vhost = vhost;
    this.translator = translator;
    this.#faulted = faulted;
  }

  /**
   * Serves the IOTLB of a device that VIRTIO_F_ACCESS_PLATFORM is agreed with. `faulted` is told of each fault, once.
   * ERR_VHOST_UNSUPPORTED: the device has no IOTLB that could be served.
   */
  static async open(
    vhost: Vhost,
    translator: Translator,
    faulted: (error: VhostError) => void,
  ): Promise<Iotlb> {
    if (typeof translator?.translate !== 'function')
      throw wrongType('translator', 'an object with a method translate', translator);
    if (vhost.watchIotlb === undefined || vhost.writeIotlb === undefined)
      throw new VhostError('ERR_VHOST_UNSUPPORTED', 'this Vhost has no messages of an IOTLB');
    await agreeOnMessages(vhost);
    const iotlb = new Iotlb(vhost, translator, faulted);
    translator.attach?.(iotlb);
    try {
      iotlb.#listen();
    } catch (error) {
      iotlb.close();
      throw error;
    }
    return iotlb;
  }

  /** Serves the device anew that was reset: it has forgotten all that it was told, and what it asked for. */
  async renew(): Promise<void> {
    this.#asked.clear();
    await agreeOnMessages(this.#vhost);
  }

  /**
   * Tells the device all of a range before it asks, also inside `hold`. ERR_VHOST_IOTLB_FAULT: some of it is not mapped, or
   * does not allow this access.
   */
  async map(iova: bigint, size: bigint, access: IotlbAccess): Promise<void> {
    for (let next = iova; next < iova + size; ) {
      const translation = await this.#tell(next, access, true);
      next = translation.iova + translation.size;
    }
  }

  /** Takes a range back; resolves when the device no longer reaches it. What was told of it whole, is gone whole. */
  async invalidate(iova: bigint, size: bigint): Promise<void> {
    for (const invalidated of this.#lookups) invalidated.push({ iova, size });
    while (this.#holds > 0) await this.#held;
    if (!this.#open) return;
    this.invalidations++;
    await this.#vhost.writeIotlb!({ type: 'invalidate', iova, size });
  }

  /**
   * Runs requests that stop and start queues. Meanwhile no message is read or written by anything but `map`: the device
   * takes none while it waits for frames, which would hold up the loop, and forgets those that it sent.
   */
  async hold<T>(step: () => Promise<T>): Promise<T> {
    this.#holds++;
    this.#watch?.close();
    this.#watch = undefined;
    const result = step();
    this.#held = Promise.allSettled([this.#held, result]);
    try {
      return await result;
    } finally {
      if (--this.#holds === 0 && this.#open) this.#listen();
    }
  }

  ref(): void {
    this.#referenced = true;
    this.#watch?.ref();
  }

  unref(): void {
    this.#referenced = false;
    this.#watch?.unref();
  }

  /** Serves no more. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch?.close();
    this.#watch = undefined;
    this.translator.detach?.(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #listen(): void {
    this.#watch = this.#vhost.watchIotlb!({
      missed: ({ type, iova, access }) => {
        this.misses++;
        if (type === 'miss') this.#answer(iova, access);
        else this.#fail(fault(iova, access, 'it finds forbidden'));
      },
      failed: (error) => {
        this.#watch?.close();
        this.#watch = undefined;
        this.#faulted(error);
      },
    });
    if (!this.#referenced) this.#watch.unref();
  }

  #answer(iova: bigint, access: IotlbAccess): void {
    // Each kick of a queue that waits brings its miss again; one update answers all that were read before it.
    const question = `${iova} ${access}`;
    if (this.#asked.has(question)) return;
    this.#asked.add(question);
    this.#tell(iova, access, false)
      .catch((error: unknown) => {
        const told = error instanceof VhostError && error.code === 'ERR_VHOST_IOTLB_FAULT';
        this.#fail(told ? error : fault(iova, access, 'cannot be told', error));
      })
      .finally(() => this.#asked.delete(question));
  }

  #fail(error: VhostError): void {
    if (!this.#open) return;
    this.faults++;
    this.#faulted(error);
  }

  /** Looks an address up and tells the device; again where that was taken back meanwhile. */
  async #tell(iova: bigint, access: IotlbAccess, held: boolean): Promise<Translation> {
    const invalidated: IovaRange[] = [];
    this.#lookups.add(invalidated);
    try {
      for (;;) {
        invalidated.length = 0;
        const translation = await this.#translate(iova, access);
        while (!held && this.#holds > 0) await this.#held;
        if (invalidated.some((range) => overlap(range, translation))) continue;
        if (this.#open) {
          this.updates++;
          await this.#vhost.writeIotlb!({ ...translation, type: 'update' });
        }
        return translation;
      }
    } finally {
      this.#lookups.delete(invalidated);
    }
  }

  /** What the translator says, checked. */
  async #translate(iova: bigint, access: IotlbAccess): Promise<Translation> {
    let translation: Translation | undefined;
    try {
      translation = await this.translator.translate(iova, access);
    } catch (error) {
      throw fault(iova, access, 'could not be looked up', error);
    }
    if (translation === undefined) throw fault(iova, access, 'is not mapped');
    if (translation.iova > iova || translation.iova + translation.size <= iova)
      throw wrongValue('translation', `such that 0x${iova.toString(16)} lies in it`, translation);
    if (!allows(translation.access, access))
      throw fault(iova, access, `is mapped with access '${translation.access}'`);
    return translation;
  }
}

function overlap(a: IovaRange, b: IovaRange): boolean {
  return a.iova < b.iova + b.size && b.iova < a.iova + a.size;
}

function fault(iova: bigint, access: IotlbAccess, why: string, cause?: unknown): VhostError {
  const wanted = { ro: 'read', wo: 'write', rw: 'read and write' }[access];
  return new VhostError(
    'ERR_VHOST_IOTLB_FAULT',
    `the device wants to ${wanted} at 0x${iova.toString(16)}, which ${why}`,
    { cause },
  );
}

/** Agrees on struct vhost_msg_v2 where the device has it. */
async function agreeOnMessages(vhost: Vhost): Promise<void> {
  const v2 = bit(VHOST_BACKEND_F_IOTLB_MSG_V2);
  if (((await vhost.getBackendFeatures?.()) ?? 0n) & v2) await vhost.setBackendFeatures?.(v2);
}
