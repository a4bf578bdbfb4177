import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { frameStream } from '../../../lib/net/frame-stream.js';
import type { NicOptions } from '../../../lib/net/nic-open.js';
import { type NicOnFake, openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

describe('frameStream', () => {
  let on: NicOnFake;
  let stream: Duplex;

  async function open(highWaterMark?: number, options: Partial<NicOptions> = {}): Promise<void> {
    on = await openNic(options);
    stream = frameStream(on.nic, highWaterMark === undefined ? {} : { highWaterMark });
  }
  afterEach(async () => {
    stream.destroy();
    await on.nic.close();
    on.kernel.assertNothingLeft();
  });

  const frames = (count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, i) => numberedFrame(i, 60));

  it('sends each chunk as one frame, in order, and finishes when all of them are done', async () => {
    await open();
    await pipeline(frames(50), stream, { end: false });
    stream.end();
    await finished(stream, { readable: false });
    assert.deepEqual(
      on.worker.sent.map(({ frame }) => new Uint8Array(frame)),
      frames(50),
    );
    assert.equal(on.nic.tx.ledger.inFlight, 0);
  });

  it('does not finish while a frame is in flight', async () => {
    await open();
    on.worker.completion = 'held';
    stream.end(numberedFrame(0, 60));
    const finish = once(stream, 'finish');
    assert.equal(await settled(finish), false);
    on.worker.complete(...on.worker.held);
    await finish;
  });

  it('has a writer wait where there is no room', async () => {
    await open(4);
    on.worker.completion = 'held';
    // A ring of 8, one frame that waits for it, and the 3 before the mark that wait for that one.
    let written = 0;
    while (stream.write(numberedFrame(written++, 60))) await turn();
    assert.equal(written, 8 + 4);
    const drained = once(stream, 'drain');
    assert.equal(await settled(drained), false);
    on.worker.complete(...on.worker.held);
    await drained;
    on.worker.completion = 'copied';
  });

  it('gives each frame that came as one chunk: a copy of its own', async () => {
    await open();
    on.worker.receive(...frames(20));
    const found: Uint8Array[] = [];
    for await (const frame of stream) {
      found.push(frame);
      if (found.length === 20) break;
    }
    assert.deepEqual(found, frames(20));
    assert.equal(stream.destroyed, true);
  });

  it('takes no more than the mark and a batch beyond what is read', async () => {
    await open(4);
    on.worker.receive(...frames(40));
    const first = await new Promise((resolve) => stream.once('readable', () => resolve(stream.read())));
    assert.deepEqual(first, numberedFrame(0, 60));
    for (let i = 0; i < 10; i++) await turn();
    assert.ok(on.nic.stats().receive.frames <= 4 + 2 * 4, `${on.nic.stats().receive.frames} frames taken`);
    assert.ok(stream.readableLength <= 4);
    const rest: unknown[] = [];
    for await (const frame of stream) if (rest.push(frame) === 39) break;
    assert.deepEqual(rest, frames(40).slice(1));
  });

  it('ends when the Nic closes', async () => {
    await open();
    stream.resume();
    const end = once(stream, 'end');
    await turn();
    await on.nic.close();
    await end;
    stream.write(numberedFrame(0, 60));
    const [error] = await once(stream, 'error');
    assert.equal(error.code, 'ERR_VHOST_CLOSED');
  });

  it('is destroyed by what is no frame, and leaves the Nic to others', async () => {
    for (const [chunk, code] of [
      ['text', 'ERR_VHOST_INVALID_ARGUMENT'],
      [new Uint8Array(13), 'ERR_VHOST_BAD_HEADER'],
    ] as const) {
      await open();
      stream.write(chunk);
      const [error] = await once(stream, 'error');
      assert.equal(error.code, code);
      assert.equal(stream.destroyed, true);
      await on.nic.send(numberedFrame(1, 60));
      await on.nic.drain();
      await on.nic.close();
    }
  });

  it('lets go of the Nic when it is destroyed: what waits is withdrawn, and another may receive', async () => {
    await open();
    on.worker.completion = 'held';
    for (let i = 0; i < 12; i++) stream.write(numberedFrame(i, 60));
    stream.read();
    await turn();
    stream.destroy();
    await once(stream, 'close');
    assert.equal(on.nic.tx.ledger.inFlight, 8);
    assert.equal(on.nic.trySend(numberedFrame(0, 60)), false, 'full, but nobody waits');
    on.worker.receive(numberedFrame(7, 60));
    const { value: batch } = await on.nic.receive().next();
    assert.deepEqual(batch!.frame(0).slice(), numberedFrame(7, 60));
    batch!.release();
  });

  it('is destroyed where another iteration receives, or the queue fails', async () => {
    await open();
    const first = on.nic.receive();
    const step = first.next();
    stream.read();
    const [busy] = await once(stream, 'error');
    assert.equal(busy.code, 'ERR_VHOST_IN_USE');
    on.worker.receive(numberedFrame(0, 60));
    await step;
    await first.return();
    stream = frameStream(on.nic);
    stream.read();
    await turn();
    on.worker.queue(0).error();
    const [failed] = await once(stream, 'error');
    assert.equal(failed.code, 'ERR_VHOST_QUEUE_ERROR');
  });

  it('checks its options', async () => {
    await open();
    assert.throws(() => frameStream(on.nic, { highWaterMark: 0 }), { message: /^highWaterMark must be/ });
    assert.throws(() => frameStream(on.nic, { limit: 1 } as never), { message: /^options must be made of/ });
  });
});
