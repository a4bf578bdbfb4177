import assert from 'node:assert/strict';
import { DeviceRing, NO_CHAIN } from '../../../lib/vring/device-ring.js';
import { Inflight, inflightBytes } from '../../../lib/vring/inflight.js';
import { property } from '../../support/random.js';
import { RingInMemory } from '../../support/ring-in-memory.js';

const SIZE = 8;

describe('heads in flight', () => {
  let buffer: ArrayBuffer;
  beforeEach(() => {
    buffer = new ArrayBuffer(64 + inflightBytes(SIZE));
  });
  const part = (): { buffer: ArrayBuffer; offset: number } => ({ buffer, offset: 64 });

  it('take as much memory as with other back-ends: a whole number of 64 bytes', () => {
    assert.deepEqual([1, 4, 256, 0x8000].map(inflightBytes), [64, 128, 4160, 524_352]);
  });

  it('are noted as the protocol says, byte by byte', () => {
    const inflight = new Inflight(part(), SIZE);
    assert.deepEqual(inflight.recover(7), []);
    inflight.take(5);
    inflight.take(2);
    inflight.use(2);
    const view = new DataView(buffer, 64);
    const words = (at: number, count: number): number[] =>
      Array.from({ length: count }, (_, i) => view.getUint16(at + 2 * i, true));
    // features, version, desc_num, last_batch_head, used_idx
    assert.equal(view.getBigUint64(0, true), 0n);
    assert.deepEqual(words(8, 4), [1, SIZE, 2, 7]);
    const state = (head: number) => ({
      inflight: view.getUint8(16 + 16 * head),
      next: view.getUint16(16 + 16 * head + 6, true),
      counter: view.getBigUint64(16 + 16 * head + 8, true),
    });
    assert.deepEqual(state(5), { inflight: 1, next: 0, counter: 0n });
    assert.deepEqual(state(2), { inflight: 1, next: 0, counter: 1n });
    inflight.use(5);
    inflight.shown(2, 9);
    assert.deepEqual(words(8, 4), [1, SIZE, 5, 9]);
    assert.deepEqual(state(5), { inflight: 0, next: 2, counter: 0n });
    assert.equal(state(2).inflight, 0);
    assert.ok(new Uint8Array(buffer, 0, 64).every((byte) => byte === 0));
  });

  it('are those that the device before had, in the order in which it took them', () => {
    const before = new Inflight(part(), SIZE);
    before.recover(0);
    for (const head of [6, 1, 4, 0]) before.take(head);
    before.giveBack(0);
    before.use(1);
    before.shown(1, 1);
    const after = new Inflight(part(), SIZE);
    assert.deepEqual(after.recover(1), [6, 4]);
    after.take(3);
    assert.deepEqual(after.heads(), [6, 4, 3]);
  });

  it('are not those that were shown as used before that was noted', () => {
    const before = new Inflight(part(), SIZE);
    before.recover(0);
    for (const head of [1, 2, 3]) before.take(head);
    for (const head of [3, 1]) before.use(head);
    // Killed when the used index had been moved to 2.
    assert.deepEqual(new Inflight(part(), SIZE).recover(2), [2]);
    // And those that were used and not yet shown are.
    const other = new Inflight(part(), SIZE);
    other.use(2);
    assert.deepEqual(new Inflight(part(), SIZE).recover(2), [2]);
  });

  it('are bounded, whatever is written there', () => {
    new Uint8Array(buffer, 64).fill(0xff);
    new DataView(buffer, 64).setUint16(8, 1, true);
    const inflight = new Inflight(part(), SIZE);
    assert.equal(inflight.recover(0).length, SIZE);
    inflight.take(0);
    inflight.shown(SIZE, 8);
    new Uint8Array(buffer, 64).fill(0);
    new DataView(buffer, 64).setUint16(8, 1, true);
    // A list that comes back to where it was.
    assert.deepEqual(new Inflight(part(), SIZE).recover(8), []);
  });

  /** Ends the device that notes them, at a moment that chance chooses. */
  class Killed extends Error {}
  class Mortal extends Inflight {
    kill: () => boolean = () => false;
    #may<T>(work: () => T): T {
      if (this.kill()) throw new Killed();
      const result = work();
      if (this.kill()) throw new Killed();
      return result;
    }
    override take(head: number): void {
      this.#may(() => super.take(head));
    }
    override giveBack(head: number): void {
      this.#may(() => super.giveBack(head));
    }
    override use(head: number): void {
      this.#may(() => super.use(head));
    }
    override shown(count: number, used: number): void {
      this.#may(() => super.shown(count, used));
    }
  }

  for (const inOrder of [false, true])
    property(
      `bring every chain back once, whenever devices are killed${inOrder ? ', in order' : ''}`,
      (random) => {
        const ring = new RingInMemory(SIZE);
        const options = { parts: ring.parts, size: SIZE, memory: ring.device.memory, inOrder };
        for (let id = 0; id < SIZE; id++) ring.describe(id, 0x10_0000, 60);
        const free = Array.from({ length: SIZE }, (_, id) => id);
        const posted = new Set<number>();
        let [reaped, returned, deaths, left] = [0, 0, 0, 0];
        const reap = (): void => {
          for (; reaped !== ring.usedIndex; reaped = (reaped + 1) & 0xffff) {
            const [head] = ring.used(reaped);
            assert.ok(posted.delete(head), `head ${head} is the driver's`);
            free.push(head);
            returned++;
          }
        };
        while (returned < 20_000) {
          const inflight = new Mortal(part(), SIZE);
          // Where nothing is in flight, the front-end has the base right by itself: it is the used index.
          const device = new DeviceRing({ ...options, base: ring.usedIndex, inflight });
          left += inflight.heads().length;
          inflight.kill = () => random.oneIn(40);
          const heads: number[] = [];
          try {
            for (;;) {
              reap();
              while (free.length > 0 && !random.oneIn(3)) {
                const head = random.draw(free);
                posted.add(head);
                ring.offer(head);
              }
              for (let head = device.take(); head !== NO_CHAIN; head = device.take()) {
                if (random.oneIn(6)) {
                  device.discard(1);
                  break;
                }
                heads.push(head);
              }
              // Some complete later.
              while (heads.length > 0 && !random.oneIn(6)) {
                device.use(random.draw(heads), 0);
                if (random.oneIn(4)) device.publish();
              }
              device.publish();
            }
          } catch (error) {
            if (!(error instanceof Killed)) throw error;
            deaths++;
          }
        }
        assert.ok(deaths > 100 && left > 100, `${deaths} devices left ${left} heads`);
      },
    );
});
