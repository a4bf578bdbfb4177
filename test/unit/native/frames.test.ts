import assert from 'node:assert/strict';
import { errnoOf } from '../../../lib/errors/refusal.js';
import { hostKernel } from '../../../lib/kernel/host.js';
import type { Kernel, Mapping } from '../../../lib/kernel/kernel.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { long, property, type Random, runs } from '../../support/random.js';
import { throwsWrongType, throwsWrongValue } from './refusal.js';

const SIZE = 65_536;
const EAGAIN = -errnoOf('EAGAIN');

/** Chains of pieces of a memory, as the surface is given them. */
interface Chains {
  /** Offset and bytes of each piece. */
  readonly pieces: readonly (readonly [number, number])[];
  readonly ends: readonly number[];
}

/** A socket pair and memory of a kernel, in which the same things are done as in another. */
class World {
  readonly kernel: Kernel;
  readonly bytes: Uint8Array;
  readonly #mapping: Mapping;
  readonly #ends: readonly [number, number];

  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.#mapping = kernel.memory.create('frames', SIZE, 0);
    this.bytes = new Uint8Array(this.#mapping.buffer);
    for (let i = 0; i < SIZE; i++) this.bytes[i] = i * 31 + (i >> 8);
    this.#ends = kernel.frames.pair();
  }

  write({ pieces, ends }: Chains, first: number, count: number, skip: number) {
    const results = new Int32Array(count).fill(-1000);
    const [fd] = this.#ends;
    const done = this.kernel.frames.write(
      fd,
      this.#places(pieces),
      Uint32Array.from(ends),
      results,
      first,
      count,
      skip,
    );
    return { done, results: [...results] };
  }

  read({ pieces, ends }: Chains, first: number, count: number, skip: number, need: number, most: number) {
    const results = new Int32Array(2 * most).fill(-1000);
    const [, fd] = this.#ends;
    const done = this.kernel.frames.read(
      fd,
      this.#places(pieces),
      Uint32Array.from(ends),
      results,
      first,
      count,
      skip,
      need,
    );
    return { done, results: [...results] };
  }

  /** The writer's end is closed: what is read then is the end of the stream. */
  hangUp(): void {
    this.kernel.descriptor.close(this.#ends[0]);
  }

  close(): void {
    this.kernel.descriptor.close(this.#ends[1]);
    this.kernel.memory.unmap(this.#mapping);
  }

  #places(pieces: Chains['pieces']): Float64Array {
    const { address } = this.#mapping;
    return Float64Array.from(pieces.flatMap(([offset, bytes]) => [Number(address) + offset, bytes]));
  }
}

/** Chains that do not overlap, so that what is written tells where; one more piece follows for what spills. */
function arbitraryChains(random: Random, from: number): Chains {
  const pieces: [number, number][] = [];
  const ends: number[] = [];
  let at = from;
  const piece = (bytes: number): void => {
    pieces.push([at, bytes]);
    at += bytes + random.below(16);
  };
  for (let chain = random.between(1, 12); chain > 0; chain--) {
    for (let i = random.between(1, 5); i > 0; i--) piece(random.between(1, random.oneIn(4) ? 400 : 60));
    ends.push(pieces.length);
  }
  piece(8192);
  return { pieces, ends };
}

/** Bytes of the shortest chain. */
function shortest({ pieces, ends }: Chains): number {
  return Math.min(
    ...ends.map((end, i) =>
      pieces.slice(i === 0 ? 0 : ends[i - 1], end).reduce((sum, [, bytes]) => sum + bytes, 0),
    ),
  );
}

describe('frames.write and frames.read', () => {
  property('do on the host what they do on the fake kernel', (random) => {
    const met = { spilt: 0, merged: 0, waited: 0, ended: 0 };
    for (let run = runs(long ? 100_000 : 1000); run > 0; run--) {
      const worlds = [new World(new FakeKernel()), new World(hostKernel())];
      for (let step = 0; step < 4; step++) {
        const out = arbitraryChains(random, 0);
        const first = random.below(out.ends.length + 1);
        const cut = random.below(shortest(out));
        const [a, b] = worlds.map((world) => world.write(out, first, out.ends.length, cut));
        assert.deepEqual(a, b);
        if (step === 3) for (const world of worlds) world.hangUp();
        for (let reads = 0; reads < 40; reads++) {
          const into = arbitraryChains(random, SIZE / 2);
          const begin = random.below(into.ends.length);
          const skip = random.below(Math.min(13, shortest(into)));
          const need = random.oneIn(2) ? 0 : random.below(600);
          const most = random.between(1, 8);
          const [c, d] = worlds.map((world) => world.read(into, begin, into.ends.length, skip, need, most));
          assert.deepEqual(c, d);
          const { done, results } = c!;
          for (let i = 0; i < done; i++) {
            if (results[2 * i]! > 0 && results[2 * i + 1]! < 0) met.spilt++;
            if (results[2 * i + 1]! > 1) met.merged++;
          }
          const last = results[2 * (done - 1)];
          if (last === EAGAIN) met.waited++;
          if (last === 0) met.ended++;
          if (last === EAGAIN || last === 0) break;
        }
        const [e, f] = worlds.map(({ bytes }) => Buffer.from(bytes));
        assert.ok(e!.equals(f!), 'the same bytes everywhere');
      }
      for (const world of worlds) world.close();
    }
    for (const [what, times] of Object.entries(met)) assert.ok(times > 0, `none ${what}`);
  }).timeout(long ? 600_000 : 60_000);

  property('take any arrays at all without harm', (random) => {
    const { frames, memory, descriptor } = hostKernel();
    const mapping = memory.create('frames', SIZE, 0);
    const base = Number(mapping.address);
    const [fd, other] = frames.pair();
    // Nothing of this process is mapped there, for what is read is written somewhere.
    const nowhere = [0, 4096, 2 ** 47, 2 ** 48 + 1, 2 ** 53, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY];
    const address = (): number => (random.oneIn(3) ? random.pick(nowhere) : base + random.below(SIZE - 2048));
    const length = (): number =>
      random.oneIn(20) ? random.pick([0, 2 ** 31, 2 ** 53, -1, Number.NaN]) : random.below(2048);
    const outcomes = new Set<string>();
    for (let run = runs(long ? 10_000_000 : 100_000); run > 0; run--) {
      const count = random.below(5);
      // A piece of memory that is long leads out of it.
      const pieces = Float64Array.from({ length: 2 * random.below(12) }, () => 0);
      for (let i = 0; i < pieces.length; i += 2) {
        const [at, bytes] = [address(), length()];
        pieces[i] = bytes > 2048 && at >= base ? 2 ** 47 : at;
        pieces[i + 1] = bytes;
      }
      let end = 0;
      const ends = Uint32Array.from({ length: count }, () => {
        end = random.oneIn(15) ? random.word() : end + random.below(4);
        return end;
      });
      const results = new Int32Array(random.below(12));
      const numbers = [random.below(3), count + (random.oneIn(20) ? 1 : 0), random.below(40)] as const;
      try {
        if (random.oneIn(2)) frames.write(fd, pieces, ends, results, ...numbers);
        else frames.read(other, pieces, ends, results, ...numbers, random.below(4000));
        for (const result of results) if (result < 0) outcomes.add(String(result));
      } catch (error) {
        const { code } = error as { code?: string };
        assert.equal(code, 'ERR_VHOST_OUT_OF_RANGE', (error as Error).stack);
        outcomes.add(code);
      }
    }
    for (const expected of ['ERR_VHOST_OUT_OF_RANGE', String(EAGAIN), String(-errnoOf('EFAULT'))])
      assert.ok(outcomes.has(expected), `${expected} among ${[...outcomes]}`);
    for (const end of [fd, other]) descriptor.close(end);
    memory.unmap(mapping);
  }).timeout(long ? 900_000 : 60_000);

  it('name the argument that is wrong', () => {
    const { frames, descriptor } = hostKernel();
    const [fd, other] = frames.pair();
    const [pieces, ends, results] = [new Float64Array(4), Uint32Array.of(1), new Int32Array(2)];
    throwsWrongType(() => frames.write(fd, [] as never, ends, results, 0, 1, 0), 'frames.write', 'pieces');
    throwsWrongType(
      () => frames.write(fd, pieces, results as never, results, 0, 1, 0),
      'frames.write',
      'ends',
    );
    throwsWrongValue(() => frames.write(fd, pieces, ends, results, 2, 1, 0), 'frames.write', 'count');
    throwsWrongValue(
      () => frames.write(fd, pieces, Uint32Array.of(3), results, 0, 1, 0),
      'frames.write',
      'ends',
    );
    throwsWrongValue(
      () => frames.write(fd, pieces, ends, new Int32Array(0), 0, 1, 0),
      'frames.write',
      'results',
    );
    throwsWrongValue(
      () => frames.read(fd, new Float64Array(2), ends, results, 0, 1, 0, 0),
      'frames.read',
      'pieces',
    );
    for (const end of [fd, other]) descriptor.close(end);
  });
});
