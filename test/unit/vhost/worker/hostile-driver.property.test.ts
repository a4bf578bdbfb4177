import assert from 'node:assert/strict';
import { openCable } from '../../../../lib/backend/cable.js';
import type { FrameProgram } from '../../../../lib/backend/program.js';
import { splitRingLayout } from '../../../../lib/vring/layout.js';
import type { FakeKernel } from '../../../support/fake-kernel.js';
import { long, property, type Random, runs } from '../../../support/random.js';
import { INDIRECT, NEXT, WRITE } from '../../../support/ring-in-memory.js';
import { MRG_RXBUF, VERSION_1, WorkerOnFake } from '../../../support/worker-on-fake.js';

const RX = 0;
const TX = 1;
const PAGE = 4096;
/** Chains that are offered, valid or not. */
const CHAINS = long ? 3_000_000 : 60_000;

/** Writes the words of a ring, as a driver would that keeps few rules. */
class HostileRing {
  readonly #random: Random;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #base: number;
  readonly #size: number;
  readonly #start: number;
  readonly #available: number;
  readonly #used: number;

  constructor(
    random: Random,
    region: { bytes: Uint8Array; guestPhysicalAddress: number },
    start: number,
    size: number,
  ) {
    const layout = splitRingLayout(size);
    this.#random = random;
    this.#bytes = region.bytes;
    this.#view = new DataView(region.bytes.buffer);
    this.#base = region.guestPhysicalAddress;
    this.#size = size;
    this.#start = start;
    this.#available = start + layout.availableRing;
    this.#used = start + layout.usedRing;
    for (let id = 0; id < size; id++) this.describe(id);
  }

  get availableIndex(): number {
    return this.#view.getUint16(this.#available + 2, true);
  }

  set availableIndex(index: number) {
    this.#view.setUint16(this.#available + 2, index & 0xffff, true);
  }

  get usedIndex(): number {
    return this.#view.getUint16(this.#used + 2, true);
  }

  /** Mostly a piece of a buffer, now and then an indirect table, now and then anything. */
  describe(id: number): void {
    const random = this.#random;
    const at = this.#start + 16 * id;
    const rest = this.#bytes.length - 2 * PAGE;
    const address = random.oneIn(30) ? random.word() * random.word() : this.#base + random.below(rest);
    const indirect = random.oneIn(12);
    const length = random.oneIn(30)
      ? random.word()
      : indirect
        ? 16 * random.between(1, 20)
        : random.below(3000);
    this.#view.setBigUint64(at, BigInt(Math.min(address, Number.MAX_SAFE_INTEGER)), true);
    this.#view.setUint32(at + 8, length, true);
    const flags = (random.oneIn(3) ? NEXT : 0) | (random.oneIn(2) ? WRITE : 0) | (indirect ? INDIRECT : 0);
    this.#view.setUint16(at + 12, flags, true);
    this.#view.setUint16(at + 14, random.oneIn(30) ? random.word() : random.below(this.#size), true);
  }

  /** Makes so many heads available. */
  offer(count: number): void {
    const random = this.#random;
    for (; count > 0; count--) {
      const head = random.oneIn(100) ? random.word() : random.below(this.#size);
      this.#view.setUint16(this.#available + 4 + 2 * (this.availableIndex % this.#size), head & 0xffff, true);
      this.availableIndex++;
    }
  }
}

/** Completes frames at once, late, never in order, or with an error. */
class Whimsical implements FrameProgram {
  readonly #random: Random;
  readonly #waiting: (() => void)[] = [];
  frames = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  transmit(): void | Promise<void> {
    this.frames++;
    const random = this.#random;
    if (random.oneIn(20)) throw new Error('a frame that the program does not like');
    if (random.oneIn(3)) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiting.push(random.oneIn(10) ? () => reject(new Error('later')) : resolve);
    });
  }

  failed(): void {}

  settle(most = this.#waiting.length): void {
    for (; most > 0 && this.#waiting.length > 0; most--) this.#random.draw(this.#waiting)();
  }
}

describe('WorkerVhost against drivers that keep no rule', () => {
  for (const kind of ['program', 'cable'] as const)
    property(
      `serves or stops, and reaches nothing but the driver's memory: over a ${kind}`,
      async (random) => {
        let offered = 0;
        let used = 0;
        let faults = 0;
        while (offered < runs(CHAINS / 2)) {
          const size = 2 ** random.between(1, 6);
          const features =
            VERSION_1 | (random.oneIn(2) ? MRG_RXBUF : 0n) | (random.oneIn(3) ? 1n << 29n : 0n);
          const on = new WorkerOnFake(features, size);
          const { kernel, vhost, region } = on;
          // In the same process, and none of the driver's.
          const secret = kernel.memory.create('secret', PAGE, 0);
          const program = new Whimsical(random);
          const cable = openCable({}, kernel);
          const backend = kind === 'program' ? on.program(program) : undefined;
          const fd = backend?.fd ?? cable[0].fd;
          const rings = [RX, TX].map((queue) => new HostileRing(random, region, queue * 16 * PAGE, size));
          for (const queue of [RX, TX]) await vhost.setBackend(queue, fd);
          for (let round = 0; round < 60; round++) {
            for (const [queue, ring] of rings.entries()) {
              const count = random.below(size + 1);
              ring.offer(count);
              offered += count;
              for (let i = random.below(4); i > 0; i--) ring.describe(random.below(size));
              if (random.oneIn(40)) ring.availableIndex = random.word();
              kernel.eventfd.signal(on.kicks[queue]!);
            }
            if (backend !== undefined)
              for (let i = random.below(4); i > 0; i--) backend.deliver(new Uint8Array(random.below(5000)));
            else for (let i = random.below(4); i > 0; i--) exchange(kernel, cable[1].fd, random);
            program.settle(random.below(size));
            await kernel.idle();
            // What a driver does that was told of an error: it begins again where the device stands.
            for (const [queue, ring] of rings.entries())
              if (on.faults.some((fault) => fault.startsWith(String(queue)))) {
                ring.availableIndex = ring.usedIndex;
                if (random.oneIn(3)) {
                  const stopping = vhost.setBackend(queue, -1);
                  program.settle();
                  await stopping;
                  vhost.setVringBase(queue, ring.usedIndex);
                  await vhost.setBackend(queue, fd);
                }
              }
            faults += on.faults.splice(0).length;
          }
          used += rings.reduce((sum, ring) => sum + ring.usedIndex, 0);
          assert.ok(new Uint8Array(secret.buffer).every((byte) => byte === 0));
          kernel.memory.unmap(secret);
          const closing = on.close();
          program.settle();
          for (const end of cable) end.close();
          await closing;
        }
        // Both were met, or the test proves less than it says.
        assert.ok(used > 100 && faults > 100, `${used} used, ${faults} faults`);
      },
    ).timeout(long ? 1_800_000 : 120_000);
});

/** Sends a frame into a cable, and takes one out. */
function exchange(kernel: FakeKernel, fd: number, random: Random): void {
  const mapping = kernel.memory.create('exchange', 16 * PAGE, 0);
  const pieces = Float64Array.of(Number(mapping.address), 8 * PAGE, Number(mapping.address), PAGE);
  const results = new Int32Array(2);
  const length = random.between(1, 6000);
  const out = Float64Array.of(Number(mapping.address), length);
  kernel.frames.write(fd, out, Uint32Array.of(1), results, 0, 1, 0);
  kernel.frames.read(fd, pieces, Uint32Array.of(1), results, 0, 1, 0, 0);
  kernel.memory.unmap(mapping);
}
