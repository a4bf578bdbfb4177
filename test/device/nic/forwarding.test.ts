import assert from 'node:assert/strict';
import type { Nic } from '../../../lib/index.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';

const FRAMES = 20_000;

/** left — tap-1 | cable-1 | tap-2 — inner and outer of this program, sharing memory — tap-3 | cable-2 | tap-4 — right */
describe('several Nics in one process', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  let left: Nic;
  let inner: Nic;
  let outer: Nic;
  let right: Nic;

  beforeEach(async () => {
    namespace = Namespace.add();
    left = await namespace.nic('tap-1');
    inner = await namespace.nic('tap-2', { queueSize: 128, buffers: 512 });
    outer = await namespace.nic('tap-3', { queueSize: 128, shared: inner });
    right = await namespace.nic('tap-4');
    namespace.bridge('cable-1', 'tap-1', 'tap-2');
    namespace.bridge('cable-2', 'tap-3', 'tap-4');
  });
  afterEach(() => namespace.remove());

  it('carry frames side by side', async () => {
    await run(
      new Flow(left, inner, new NumberedFrames(60, 'a', 'b'), FRAMES),
      new Flow(right, outer, new NumberedFrames(60, 'c', 'd'), FRAMES),
    );
  });

  it('hand frames to one another without copying, where they share memory and buffers', async () => {
    assert.equal(outer.pool, inner.pool);
    assert.equal(outer.memory, inner.memory);
    const forwarder = new Forwarder(inner, outer);
    await run(
      // What `right` takes is what `left` sent: the flow ends at the far side of both cables.
      new (class extends Flow {
        override step(): number {
          return super.step() + forwarder.step();
        }
      })(left, right, new NumberedFrames(60, 'a', 'b'), FRAMES),
    );
    // The sender heard of the last frame before the forwarder did.
    while (outer.tx.ledger.inFlight > 0) forwarder.step();
    const { receive } = inner.stats();
    const { transmit } = outer.stats();
    assert.equal(receive.frames, FRAMES);
    assert.deepEqual([transmit.submitted, transmit.completed, transmit.inFlight], [FRAMES, FRAMES, 0]);
    assert.equal(forwarder.waiting, 0);
    // Every buffer is where it belongs: free, or in one of the two receive rings.
    inner.rx.refill();
    outer.rx.refill();
    const { pool } = inner;
    const posted = inner.rx.ledger.inFlight + outer.rx.ledger.inFlight;
    assert.equal(pool.free + posted, pool.count);
  });

  it('that share memory close in any order but one: the owner of the memory last', async () => {
    await outer.close();
    await inner.close();
  });

  it('refuse to take memory from under one another', async () => {
    await assert.rejects(inner.close(), {
      code: 'ERR_VHOST_IN_USE',
      message: 'guest memory is in use by 1 device(s); close them first',
    });
    // The other goes on with the memory, and whoever closes it last gives the memory back.
    const { memory } = inner;
    await run(new Flow(outer, right, new NumberedFrames(60, 'b', 'c'), 1000));
    await outer.close();
    memory.close();
    assert.equal(memory.regions.length, 0);
  });
});

/** Moves the frames that one `Nic` receives to another, buffer by buffer. */
class Forwarder {
  readonly #from: Nic;
  readonly #to: Nic;
  /** Frames that found no room yet. */
  readonly #held: number[] = [];

  constructor(from: Nic, to: Nic) {
    this.#from = from;
    this.#to = to;
  }

  get waiting(): number {
    return this.#held.length;
  }

  step(): number {
    const { rx } = this.#from;
    const { tx } = this.#to;
    let moved = tx.reap();
    const count = this.#held.length === 0 ? rx.reap() : 0;
    for (let i = 0; i < count; i++) this.#held.push(rx.frames[i]!);
    let posted = 0;
    while (posted < this.#held.length && tx.post(this.#held[posted]!) !== -1) posted++;
    this.#held.splice(0, posted);
    if (posted > 0) tx.flush();
    moved += posted;
    if (moved > 0) rx.refill();
    return moved + count;
  }
}
