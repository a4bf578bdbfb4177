import type { AdoptableKind } from '../backend/adopt.js';
import type { Offload } from '../backend/backend.js';
import { checkInteger, checkOptions, wrongType, wrongValue } from '../errors/check.js';
import { VhostError } from '../errors/errors.js';
import { undo } from '../errors/undo.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Framing } from '../socket/framing.js';
import { UnixConnection } from '../socket/unix-connection.js';
import { UnixListener } from '../socket/unix-listener.js';
import { checkRingSize } from '../vring/layout.js';
import { NicJournal, type RingSizes } from './nic-journal.js';

/** What must be known beside the descriptors; nothing but numbers and strings, so that it can be written as JSON. */
export interface HandOverState extends RingSizes {
  readonly bufferSize: number;
  readonly buffers: number;
  /** Feature bits agreed with the devices, in hexadecimal. */
  readonly features: string;
  /** Where the memory lies. */
  readonly guestPhysicalAddress: number;
  /** Bytes of the memory. */
  readonly size: number;
  readonly kind: AdoptableKind;
  readonly offloads: readonly Offload[];
  /** The path of the backend's network namespace; '' for that of the process. */
  readonly netns: string;
}

/** The memfds of the memory and of the journal; the queues of the backend follow. */
const MEMFDS = 2;
const LENGTH_SIZE = 4;
/** SCM_MAX_FD: descriptors of one message. */
const MAX_DESCRIPTORS = 253;
/** Queue pairs of which one message passes all descriptors. */
export const MAX_HANDED_PAIRS = MAX_DESCRIPTORS - MEMFDS;

const framing: Framing = {
  headerSize: LENGTH_SIZE,
  maxPayload: 4096,
  maxDescriptors: MAX_DESCRIPTORS,
  payloadSize: (header) => new DataView(header.buffer, header.byteOffset).getUint32(0, true),
};

export interface PassOptions {
  /** Ends the wait for the other process. */
  readonly signal?: AbortSignal | undefined;
}

export interface TakeOptions extends PassOptions {
  readonly kernel?: Kernel;
  /** Permission bits of the socket; 0o600 by default. */
  readonly mode?: number;
}

/**
 * A `Nic` on its way to whoever goes on with it: the descriptors of its memory, of its journal and of its backend. While
 * it is open, the interface lives and no frame in flight is lost. `Nic.resume` makes a `Nic` of it.
 */
export class HandOver {
  readonly state: HandOverState;
  readonly #kernel: Kernel;
  #descriptors: readonly number[];

  /** Takes the descriptors over: the memory's, the journal's, and each queue's of the backend. */
  constructor(kernel: Kernel, state: HandOverState, descriptors: readonly number[]) {
    this.#kernel = kernel;
    this.state = state;
    this.#descriptors = descriptors;
  }

  /** Copies descriptors that stay the caller's. */
  static of(kernel: Kernel, state: HandOverState, descriptors: readonly number[]): HandOver {
    const copies: number[] = [];
    try {
      for (const fd of descriptors) copies.push(kernel.descriptor.duplicate(fd));
    } catch (error) {
      for (const fd of copies) undo(() => kernel.descriptor.close(fd));
      throw error;
    }
    return new HandOver(kernel, state, copies);
  }

  /**
   * Listens at `path` until another process gives a `Nic` there, and removes the socket. ERR_VHOST_PROTOCOL: what came is
   * none. EADDRINUSE: somebody else listens there.
   */
  static async take(path: string, options: TakeOptions = {}): Promise<HandOver> {
    checkOptions('options', options, ['signal', 'kernel', 'mode']);
    const { kernel = hostKernel(), signal, mode } = options;
    const listener = UnixListener.listen(kernel, path, framing, { mode, backlog: 1 });
    try {
      const connection = (await listener.accept({ signal }))!;
      try {
        const message = await connection.receive({ signal });
        if (message === undefined) throw new VhostError('ERR_VHOST_PROTOCOL', 'the peer gave nothing');
        const handOver = receive(kernel, message.bytes.subarray(LENGTH_SIZE), message.fds);
        // Only now does the giver let go.
        await connection.send(new Uint8Array(LENGTH_SIZE)).catch((error: unknown) => {
          handOver.close();
          throw error;
        });
        return handOver;
      } finally {
        connection.close();
      }
    } finally {
      listener.close();
    }
  }

  /** Whether it was closed, given or resumed. */
  get closed(): boolean {
    return this.#descriptors.length === 0;
  }

  /** The descriptors, which stay this object's. */
  get descriptors(): {
    readonly memory: number;
    readonly journal: number;
    readonly queues: readonly number[];
  } {
    if (this.closed)
      throw new VhostError('ERR_VHOST_CLOSED', 'the hand-over was closed, given away or resumed already');
    const [memory, journal, ...queues] = this.#descriptors as [number, number, ...number[]];
    return { memory, journal, queues };
  }

  /**
   * Frames that were sent and of which nobody knows yet that they are done, so that as many at most are in flight; of a
   * standby, at this moment. What `Nic.resume` is to do with them may depend on it.
   */
  get unsettled(): number {
    const journal = NicJournal.adopt(this.#kernel, this.descriptors.journal, this.state);
    try {
      let count = 0;
      for (let pair = 0; pair < this.state.queuePairs; pair++)
        for (const taken of journal.rings(pair).transmit.taken) if (taken > 0) count++;
      return count;
    } finally {
      journal.close();
    }
  }

  /**
   * Gives it to the process that listens at `path` with `take`; resolves when that has it, and closes it here. Where it
   * rejects, it is as it was. ENOENT, ECONNREFUSED: nobody listens there.
   */
  async give(path: string, { signal }: PassOptions = {}): Promise<void> {
    const { memory, journal, queues } = this.descriptors;
    const text = Buffer.from(JSON.stringify(this.state));
    const message = new Uint8Array(LENGTH_SIZE + text.length);
    new DataView(message.buffer).setUint32(0, text.length, true);
    message.set(text, LENGTH_SIZE);
    const connection = UnixConnection.connect(this.#kernel, path, framing);
    try {
      await connection.send(message, [memory, journal, ...queues]);
      if ((await connection.receive({ signal })) === undefined)
        throw new VhostError('ERR_VHOST_PROTOCOL', `whoever listens at ${path} did not take it`);
    } finally {
      connection.close();
    }
    this.close();
  }

  /** Lets go of everything: if nobody else has it, the interface and the frames in flight are gone. Idempotent. */
  close(): void {
    const descriptors = this.#descriptors;
    this.#descriptors = [];
    for (const fd of descriptors) undo(() => this.#kernel.descriptor.close(fd));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function receive(kernel: Kernel, text: Uint8Array, fds: readonly number[]): HandOver {
  const handOver = new HandOver(kernel, {} as HandOverState, fds);
  try {
    const state = checkState(JSON.parse(Buffer.from(text).toString()));
    if (fds.length !== MEMFDS + state.queuePairs)
      throw wrongValue('descriptors', `${MEMFDS} and one for each of ${state.queuePairs} queues`, fds);
    return new HandOver(kernel, state, fds);
  } catch (cause) {
    handOver.close();
    throw new VhostError('ERR_VHOST_PROTOCOL', `the peer gave no Nic: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Believes nothing of what another process wrote before it was looked at. */
function checkState(state: HandOverState): HandOverState {
  checkOptions('state', state, [
    ...['queuePairs', 'receiveSize', 'transmitSize', 'bufferSize', 'buffers', 'features'],
    ...['guestPhysicalAddress', 'size', 'kind', 'offloads', 'netns'],
  ]);
  checkInteger('state.queuePairs', state.queuePairs, 1, MAX_HANDED_PAIRS);
  checkRingSize('state.receiveSize', state.receiveSize);
  checkRingSize('state.transmitSize', state.transmitSize);
  checkInteger('state.bufferSize', state.bufferSize, 128, 2 ** 20);
  checkInteger('state.buffers', state.buffers, 2, 2 ** 20);
  checkInteger('state.guestPhysicalAddress', state.guestPhysicalAddress, 0, Number.MAX_SAFE_INTEGER);
  checkInteger('state.size', state.size, 1, 2 ** 36);
  if (typeof state.features !== 'string' || !/^[0-9a-f]{1,32}$/.test(state.features))
    throw wrongType('state.features', 'a hexadecimal number', state.features);
  for (const name of ['kind', 'netns'] as const)
    if (typeof state[name] !== 'string') throw wrongType(`state.${name}`, 'a string', state[name]);
  if (!Array.isArray(state.offloads)) throw wrongType('state.offloads', 'an array', state.offloads);
  return state;
}
