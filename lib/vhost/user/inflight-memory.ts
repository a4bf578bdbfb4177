import { constants } from 'node:fs';
import { wrongValue } from '../../errors/check.js';
import { undo } from '../../errors/undo.js';
import type { Kernel, Mapping } from '../../kernel/kernel.js';
import { Inflight, inflightBytes } from '../../vring/inflight.js';
import type { InflightFile } from '../vhost.js';
import type { InflightArea } from './protocol.js';

/** Memory in which a back-end notes the heads that it has, and which the front-end gives to the next one. */
export class InflightMemory {
  /** As it is told to the other side. */
  readonly area: InflightArea;
  readonly file: InflightFile;
  readonly #kernel: Kernel;
  readonly #mapping: Mapping;
  /** Whether the descriptor is the mapping's own. */
  readonly #made: boolean;

  private constructor(kernel: Kernel, area: InflightArea, mapping: Mapping, given?: number) {
    this.#kernel = kernel;
    this.area = area;
    this.#mapping = mapping;
    this.#made = given === undefined;
    const fd = given ?? mapping.fd;
    this.file = { fd, offset: Number(area.offset), size: mapping.buffer.byteLength };
  }

  /** New memory, for so many queues of so many descriptors at most. */
  static create(kernel: Kernel, queues: number, queueSize: number): InflightMemory {
    const page = kernel.memory.pageSize();
    const size = Math.ceil((queues * inflightBytes(queueSize)) / page) * page;
    const mapping = kernel.memory.create('vhost-user-inflight', size, 0);
    return new InflightMemory(kernel, { size: BigInt(size), offset: 0n, queues, queueSize }, mapping);
  }

  /** Memory of the other side; `fd` is this memory's to close, where this does not throw. */
  static given(kernel: Kernel, area: InflightArea, fd: number): InflightMemory {
    const { size, offset, queues, queueSize } = area;
    const needed = BigInt(queues * inflightBytes(queueSize));
    if (queues === 0 || queueSize === 0 || size < needed || size + offset > Number.MAX_SAFE_INTEGER)
      throw wrongValue('size', `at least ${needed} for ${queues} queues of ${queueSize} descriptors`, size);
    // Other kinds of file have mappings that do as they please.
    if (kernel.descriptor.stat(fd).type !== constants.S_IFREG)
      throw wrongValue('in-flight memory', 'a memfd or another regular file', fd);
    return new InflightMemory(kernel, area, kernel.memory.map(fd, Number(offset), Number(size)), fd);
  }

  /** Where the part of a queue begins; `undefined` where it has none. */
  start(queue: number): number | undefined {
    return queue < this.area.queues ? queue * inflightBytes(this.area.queueSize) : undefined;
  }

  /** What a queue of this size has in flight. */
  of(queue: number, size: number): Inflight | undefined {
    const offset = this.start(queue);
    if (offset === undefined || size > this.area.queueSize) return undefined;
    return new Inflight({ buffer: this.#mapping.buffer, offset }, size);
  }

  close(): void {
    undo(() => this.#kernel.memory.unmap(this.#mapping));
    if (!this.#made) undo(() => this.#kernel.descriptor.close(this.file.fd));
  }
}
