import { errnoOf } from '../../errors/refusal.js';
import { undo } from '../../errors/undo.js';
import type { Kernel, Mapping, Poller } from '../../kernel/kernel.js';
import type { AddressMap } from '../../memory/address-map.js';
import type { ReadEnd, ReceivePort, ReceiveTerms, TransmitPort, TransmitTerms } from './ports.js';

/** Nothing is wrong with the frame: it is sent later (handle_tx_copy()). */
const LATER: readonly number[] = ['EAGAIN', 'ENOMEM', 'ENOBUFS'].map(errnoOf);
const AGAIN = -errnoOf('EAGAIN');
/** Frames come later: there is no memory now, or a packet socket tells, once, that its link went down. */
const QUIET: readonly number[] = ['ENETDOWN', 'ENOMEM', 'ENOBUFS'].map((code) => -errnoOf(code));
/** The memory of a driver that cut it short: the frame was taken and could not be put there. */
const LOST: readonly number[] = ['EFAULT', 'EINVAL'].map((code) => -errnoOf(code));
const TOO_MANY_PIECES = -errnoOf('EMSGSIZE');
/** The tap has no interface any more, or the other end of a cable is closed. */
const GONE: readonly number[] = ['EBADFD', 'EPIPE', 'ENXIO', 'ENODEV'].map(errnoOf);

/** Results of one call: more chains than a batch has. */
const RESULTS = 1024;
/** Room for what is beyond the chains of a frame: more than any frame has. */
const SPILL = 0x1_2000;

/** Non-blocking writes to a tap, a macvtap, a packet socket or the end of a cable. */
export class DescriptorTransmitPort implements TransmitPort {
  readonly linkState = 'sync';
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #terms: TransmitTerms;
  readonly #results = new Int32Array(RESULTS);
  #waiting: Poller | undefined;

  /** Takes over the descriptor. */
  constructor(kernel: Kernel, fd: number, terms: TransmitTerms) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#terms = terms;
  }

  transmit(_: AddressMap, skip: number): number {
    const { batch } = this.#terms;
    const { count } = batch;
    let gone = false;
    for (let at = 0; ; at++) {
      at = this.#kernel.frames.write(this.#fd, batch.pieces, batch.ends, this.#results, at, count, skip);
      if (at === count) {
        if (gone) this.#terms.gone();
        return count;
      }
      const errno = -this.#results[at]!;
      if (LATER.includes(errno)) {
        if (gone) this.#terms.gone();
        return at;
      }
      // Anything else is about this frame, which the driver is told is done (handle_tx_copy()).
      this.#terms.refused();
      gone ||= GONE.includes(errno);
    }
  }

  wait(): void {
    this.#waiting ??= this.#watch();
  }

  close(): void {
    this.#unwatch();
    this.#kernel.descriptor.close(this.#fd);
  }

  #watch(): Poller {
    const poller = this.#kernel.poller.watchWritable(this.#fd, () => {
      this.#unwatch();
      this.#terms.again();
    });
    poller.unref();
    return poller;
  }

  #unwatch(): void {
    this.#waiting?.close();
    this.#waiting = undefined;
  }
}

/** Non-blocking reads of a tap, a macvtap, a packet socket or the end of a cable. */
export class DescriptorReceivePort implements ReceivePort {
  readonly linkState = 'sync';
  readonly results = new Int32Array(RESULTS);
  readonly spill: Uint8Array;
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #terms: ReceiveTerms;
  readonly #mapping: Mapping;
  #poller: Poller | undefined;
  /** Whether the watch has told of an error that no read has shown yet. */
  #broken = false;

  /** Takes over the descriptor, where it does not throw. */
  constructor(kernel: Kernel, fd: number, terms: ReceiveTerms) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#terms = terms;
    this.#mapping = kernel.memory.create('vhost-net-spill', SPILL, 0);
    this.spill = new Uint8Array(this.#mapping.buffer);
  }

  read(skip: number, need: number): number {
    const { batch } = this.#terms;
    batch.spillTo(Number(this.#mapping.address), this.spill.length);
    return this.#kernel.frames.read(
      this.#fd,
      batch.pieces,
      batch.ends,
      this.results,
      0,
      batch.count,
      skip,
      need,
    );
  }

  watch(on: boolean): void {
    if (on === (this.#poller !== undefined)) return;
    if (!on) {
      this.#poller?.close();
      this.#poller = undefined;
      return;
    }
    this.#poller = this.#kernel.poller.watchReadable(this.#fd, (error) => {
      // An error ends the watch; the read that follows shows what it is.
      if (error) this.watch(false);
      this.#broken = error;
      this.#terms.readable();
    });
    this.#poller.unref();
  }

  ended(result: number): ReadEnd {
    const broken = this.#broken;
    this.#broken = false;
    if (QUIET.includes(result) || (result === AGAIN && !broken)) return 'empty';
    if (LOST.includes(result)) return 'lost';
    return result === TOO_MANY_PIECES ? 'segments' : 'gone';
  }

  writable(): void {}

  close(): void {
    this.watch(false);
    undo(() => this.#kernel.memory.unmap(this.#mapping));
    this.#kernel.descriptor.close(this.#fd);
  }
}
