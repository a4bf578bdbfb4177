import { checkOptions, wrongType } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import type { Backend } from './backend.js';
import { type NominalOptions, nominalInterface, nominalOptionNames } from './nominal-interface.js';

/** A network that a program plays: frames in, frames out. */
export interface FrameProgram {
  /**
   * Takes a frame that a driver sent, without a virtio-net header. The bytes are a copy of the program's own until the
   * promise settles, which is when the driver is told that the frame is done; without a promise that is at once.
   * `signal` is aborted when the queue is to stop, which waits for the promises.
   */
  transmit(frame: Uint8Array, signal: AbortSignal): void | PromiseLike<void>;
  /** Frames can be delivered again, after `deliver` has answered false. */
  writable?(): void;
  /** What `transmit` threw or rejected with; the frame is completed all the same. Uncaught where this is absent. */
  failed?(error: unknown): void;
}

/** "program" is its name by default. */
export interface ProgramOptions extends NominalOptions {}

/** The receiving queue of a device, for the frames of a program. */
export interface ProgramReceiver {
  deliver(frame: Uint8Array): boolean;
}

/** Where numbers begin that name programs: no descriptor has one. */
const FIRST = 2 ** 31;
let next = FIRST;
/** The programs of this thread, by what a device is told in place of a descriptor. */
const programs = new Map<number, ProgramBackend>();

/** A backend that is a function of this program, for a `WorkerVhost`. */
export class ProgramBackend implements Backend {
  readonly kind = 'program';
  /** Names the program in `Vhost.setBackend`; it is no descriptor. */
  readonly fd: number;
  readonly queues: readonly number[];
  readonly interface: Backend['interface'];
  readonly headerSize = 0;
  readonly offloads = [];
  readonly linkState = 'async';
  readonly program: FrameProgram;
  /** The queue that takes what is delivered, while one does. */
  receiver: ProgramReceiver | undefined;

  constructor(program: FrameProgram, options: ProgramOptions) {
    this.program = program;
    this.fd = next++;
    this.queues = [this.fd];
    this.interface = nominalInterface('program', options);
    programs.set(this.fd, this);
  }

  /**
   * Hands a frame, without a virtio-net header, to the driver; its bytes are free at once. False where no queue takes it
   * now: the driver has no buffers and enough frames wait for some, or nothing is attached.
   */
  deliver(frame: Uint8Array): boolean {
    if (!(frame instanceof Uint8Array)) throw wrongType('frame', 'a Uint8Array', frame);
    return this.receiver?.deliver(frame) ?? false;
  }

  alive(): boolean {
    return programs.has(this.fd);
  }

  switchQueue(_: number, on: boolean): void {
    if (!on) throw new VhostError('ERR_VHOST_UNSUPPORTED', 'a program has one queue');
  }

  close(): void {
    programs.delete(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Makes a backend of a function. */
export function programBackend(program: FrameProgram, options: ProgramOptions = {}): ProgramBackend {
  if (typeof program?.transmit !== 'function')
    throw wrongType('program', 'an object with a function transmit', program);
  checkOptions('options', options, nominalOptionNames);
  return new ProgramBackend(program, options);
}

/** The program that a number names in place of a descriptor. */
export function programOf(fd: number): ProgramBackend | undefined {
  return programs.get(fd);
}
