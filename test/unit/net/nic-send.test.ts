import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { FrameStatus } from '../../../lib/completion/submission.js';
import type { Nic } from '../../../lib/net/nic.js';
import type { FakeKernel } from '../../support/fake-kernel.js';
import type { ModelWorker } from '../../support/model-worker.js';
import { type NicOnFake, openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

function frames(count: number, length = 60): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedFrame(i, length));
}

describe('Nic.send', () => {
  let nic: Nic;
  let kernel: FakeKernel;
  let worker: ModelWorker;
  let errors: Error[];

  async function open(options: Parameters<typeof openNic>[0] = {}): Promise<void> {
    const opened: NicOnFake = await openNic(options);
    ({ nic, kernel, worker, errors } = opened);
  }
  afterEach(async () => {
    await nic.close();
    const { submitted, completed, abandoned, inFlight } = nic.stats().transmit;
    assert.equal(inFlight, 0);
    assert.equal(submitted, completed + abandoned);
    assert.equal(nic.pool.free, nic.pool.count, 'every buffer is back');
    kernel.assertNothingLeft();
  });

  it('resolves once the frame is posted, with an empty header before it', async () => {
    await open();
    const frame = numberedFrame(1, 60);
    await nic.send(frame);
    // The bytes are the caller's again.
    frame.fill(0);
    await nic.drain();
    assert.equal(worker.sent.length, 1);
    assert.deepEqual(worker.sent[0]!.frame, Buffer.from(numberedFrame(1, 60)));
    assert.deepEqual(worker.sent[0]!.header, Buffer.alloc(12));
  });

  it('sends the header that it is given', async () => {
    await open();
    await nic.send(new Uint8Array(60), { header: { needsChecksum: true, csumStart: 34, csumOffset: 16 } });
    await nic.drain();
    assert.equal(Buffer.from(worker.sent[0]!.header).toString('hex'), '010000000000220010000000');
  });

  it('sends frames of every size in order', async () => {
    await open({ queueSize: 64, bufferSize: 2048, tap: { name: 'tap0', mtu: 9000 } });
    const all = [14, 60, 1514, 2036, 2037, 4084, 9014, 9018].map((length, i) => numberedFrame(i, length));
    for (const frame of all) await nic.send(frame);
    await nic.drain();
    assert.deepEqual(
      worker.sent.map(({ frame }) => frame),
      all.map((frame) => Buffer.from(frame)),
    );
  });

  it('waits while there is no room, and refuses a second that would wait too', async () => {
    await open();
    worker.completion = 'held';
    for (const frame of frames(8)) await nic.send(frame);
    const waiting = nic.send(numberedFrame(8, 60));
    assert.equal(await settled(waiting), false);
    await assert.rejects(nic.send(numberedFrame(9, 60)), {
      name: 'VhostError [ERR_VHOST_QUEUE_FULL]',
      queue: 1,
    });
    assert.equal(nic.trySend(numberedFrame(9, 60)), false, 'and nothing overtakes it');
    worker.complete(worker.held[3]!);
    await waiting;
    assert.equal(nic.tx.ledger.inFlight, 8);
    worker.completion = 'copied';
    await turn();
    worker.complete(...worker.held);
    await nic.drain();
    assert.equal(worker.sent.length, 9);
    assert.equal(nic.stats().transmit.fullWaits, 2, 'one waited, one was refused');
  });

  it('counts no wait where reaping makes room', async () => {
    await open();
    worker.completion = 'held';
    for (const frame of frames(8)) await nic.send(frame);
    await turn();
    worker.model(1).complete(worker.held[0]!, 0);
    worker.model(1).publish();
    await nic.send(numberedFrame(8, 60));
    assert.equal(nic.stats().transmit.fullWaits, 0);
    await turn();
    worker.complete(...worker.held);
    await nic.drain();
  });

  it('counts a wait for buffers', async () => {
    await open();
    const held: number[] = [];
    while (nic.pool.free > 0) held.push(nic.pool.lease());
    assert.equal(nic.trySend(numberedFrame(1, 60)), false);
    const waiting = nic.send(numberedFrame(2, 60));
    assert.equal(nic.stats().transmit.fullWaits, 2);
    for (const buffer of held) nic.pool.release(buffer);
    await nic.drain();
    await waiting;
  });

  it('ends a wait when its signal aborts; the frame is not sent', async () => {
    await open();
    worker.completion = 'held';
    nic.submit(frames(8));
    const controller = new AbortController();
    const waiting = nic.send(numberedFrame(99, 60), { signal: controller.signal });
    controller.abort(new Error('never mind'));
    await assert.rejects(waiting, { message: 'never mind' });
    await turn();
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
    const next = nic.send(numberedFrame(8, 60));
    await turn();
    worker.complete(...worker.held);
    await next;
    await turn();
    worker.complete(...worker.held);
    await nic.drain();
    assert.equal(worker.sent.length, 9);
    assert.deepEqual(worker.sent[8]!.frame, Buffer.from(numberedFrame(8, 60)));
  });

  it('begins nothing with a signal that was aborted before', async () => {
    await open();
    await assert.rejects(nic.send(new Uint8Array(60), { signal: AbortSignal.abort() }), {
      name: 'AbortError',
    });
    assert.equal(nic.tx.ledger.submitted, 0);
  });

  it('leaves no listener on a signal that lives on', async () => {
    await open();
    worker.completion = 'held';
    const { signal } = new AbortController();
    for (let i = 0; i < 20; i++) await nic.send(new Uint8Array(60), { signal: signal }).then(() => step());
    async function step(): Promise<void> {
      await turn();
      worker.complete(...worker.held);
    }
    const waiting = nic.submit(frames(20), { signal });
    for (let i = 0; i < 5; i++) await step();
    await waiting.accepted;
    await turn();
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    await step();
  });

  it('refuses what is no frame, too short, too long, or would hang the kernel', async () => {
    await open();
    const wrong: [unknown, object | undefined, object][] = [
      ['text', undefined, { code: 'ERR_VHOST_INVALID_ARGUMENT', message: /^frame must be a Uint8Array/ }],
      [new Uint8Array(13), undefined, { code: 'ERR_VHOST_BAD_HEADER' }],
      [new Uint8Array(1519), undefined, { code: 'ERR_VHOST_OUT_OF_RANGE', message: /MTU 1500/ }],
      [new Uint8Array(4 << 20), undefined, { code: 'ERR_VHOST_OUT_OF_RANGE' }],
      [new Uint8Array(60), { needsChecksum: true, csumStart: 59 }, { code: 'ERR_VHOST_BAD_HEADER' }],
      [new Uint8Array(60), { gsoType: 'tcpv4' }, { code: 'ERR_VHOST_BAD_HEADER' }],
      [new Uint8Array(60), { csumStart: -1 }, { code: 'ERR_VHOST_OUT_OF_RANGE' }],
      [
        new Uint8Array(60),
        { ecn: 1 },
        { code: 'ERR_VHOST_INVALID_ARGUMENT', message: /^header\.ecn must be true or false/ },
      ],
      [
        new Uint8Array(60),
        { needsChecksum: 'no' },
        { code: 'ERR_VHOST_INVALID_ARGUMENT', message: /^header\.needsChecksum must be/ },
      ],
    ];
    for (const [frame, header, error] of wrong) {
      await assert.rejects(nic.send(frame as Uint8Array, header ? { header } : {}), error);
      assert.throws(() => nic.trySend(frame as Uint8Array, header), {
        code: (error as { code: string }).code,
      });
    }
    assert.equal(nic.tx.ledger.submitted, 0);
    assert.equal(nic.pool.free, nic.pool.count - 8, 'nothing stays leased');
    await nic.send(new Uint8Array(60));
    await nic.drain();
    assert.deepEqual(errors, []);
  });

  it('refuses options that are none', async () => {
    await open();
    const wrong: [unknown, RegExp][] = [
      [7, /^options must be an object of options; received 7$/],
      [null, /^options must be an object of options; received null$/],
      [{ headers: {} }, /^options must be made of the options header, signal \(did you mean "header"\?\)/],
      [{ signal: 7 }, /^signal must be an AbortSignal; received 7$/],
      [{ signal: null }, /^signal must be an AbortSignal; received null$/],
    ];
    for (const [options, message] of wrong) {
      const error = { code: 'ERR_VHOST_INVALID_ARGUMENT', message };
      assert.throws(() => nic.submit([new Uint8Array(60)], options as never), error);
      await assert.rejects(nic.send(new Uint8Array(60), options as never), error);
    }
    for (const wait of [nic.drain({ deadline: 1 } as never), nic.tx.ready({ deadline: 1 } as never)])
      await assert.rejects(wait, { message: /^options must be made of the options signal; received/ });
    assert.equal(nic.tx.ledger.submitted, 0);
  });

  it('refuses a frame for which reception never leaves buffers enough', async () => {
    await open({ bufferSize: 128, buffers: 16, tap: { mtu: 900 } });
    const long = { gsoType: 'tcpv4', gsoSize: 1400 } as const;
    const most = 8 * 128 - 12;
    assert.throws(() => nic.submit([new Uint8Array(most + 1)], { header: long }), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: 'a frame of 1013 bytes takes 9 buffers of 128 bytes; reception leaves 8',
    });
    await nic.send(new Uint8Array(most), { header: long });
    await nic.drain();
  });

  it('refuses frames one by one, and those after a wrong one with it', async () => {
    await open();
    const submission = nic.submit([numberedFrame(0, 60), new Uint8Array(13), numberedFrame(2, 60)]);
    await assert.rejects(submission.accepted, { code: 'ERR_VHOST_BAD_HEADER' });
    assert.deepEqual(await submission.completed, { completed: 1, abandoned: 0, withdrawn: 2 });
    assert.throws(() => nic.submit([new Uint8Array(13)]), { code: 'ERR_VHOST_BAD_HEADER' });
  });

  it('finds a wrong frame also when its turn comes later', async () => {
    await open();
    worker.completion = 'held';
    // No buffer is free, so that nobody looks at the frame yet.
    const leased: number[] = [];
    while (nic.pool.free > 1) leased.push(nic.pool.lease());
    const first = nic.submit([numberedFrame(0, 60), new Uint8Array(13)]);
    assert.equal(first.posted, 1);
    await turn();
    worker.complete(...worker.held);
    await assert.rejects(first.accepted, { code: 'ERR_VHOST_BAD_HEADER' });
    leased.push(nic.pool.lease());

    const later = nic.send(new Uint8Array(13));
    assert.equal(await settled(later), false);
    for (const buffer of leased.splice(0)) nic.pool.release(buffer);
    // Something that makes room comes.
    worker.receive(numberedFrame(5, 60));
    for await (const batch of nic.receive()) {
      batch.release();
      break;
    }
    await assert.rejects(later, { code: 'ERR_VHOST_BAD_HEADER' });
    worker.completion = 'copied';
    await nic.send(numberedFrame(1, 60));
    await nic.drain();
  });

  it('is back-pressured by frames and by bytes', async () => {
    await open({ queueSize: 64, maxInFlight: { frames: 3 } });
    worker.completion = 'held';
    const submission = nic.submit(frames(5));
    await turn();
    assert.equal(nic.tx.ledger.inFlight, 3);
    worker.complete(worker.held[0]!);
    await turn();
    await turn();
    assert.equal(submission.posted, 4);
    await nic.close();

    await open({ queueSize: 64, maxInFlight: { bytes: 3 * 72 + 10 } });
    worker.completion = 'held';
    const bytes = nic.submit(frames(5));
    await turn();
    assert.equal(nic.tx.ledger.bytesInFlight, 216);
    worker.complete(worker.held[2]!);
    await turn();
    await turn();
    assert.equal(bytes.posted, 4);
    assert.equal(nic.stats().transmit.maxInFlight, 3);
    assert.throws(() => nic.submit([new Uint8Array(300)]), { code: 'ERR_VHOST_QUEUE_FULL' });
    worker.complete(...worker.held);
    await turn();
    await turn();
    worker.complete(...worker.held);
    await nic.drain();
    assert.throws(() => nic.submit([new Uint8Array(300)]), {
      message: /maxInFlight\.bytes, 226/,
    });
  });

  it('takes a submission that is larger than the ring, in one publish as far as there is room', async () => {
    await open();
    const kicks = nic.tx.kicks;
    const submission = nic.submit(frames(100));
    assert.equal(submission.posted, 8);
    assert.equal(nic.tx.kicks - kicks <= 1, true);
    await submission.accepted;
    assert.deepEqual(await submission.completed, { completed: 100, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(
      worker.sent.map(({ frame }) => Buffer.from(frame).readUInt32BE()),
      Array.from({ length: 100 }, (_, i) => i),
    );
    assert.ok(submission.status.every((status) => status === FrameStatus.completed));
    assert.ok(submission.latency.every((latency) => latency >= 0));
  });

  it('tells the fate of each frame, whatever completes first', async () => {
    await open();
    worker.completion = 'held';
    const submission = nic.submit(frames(4));
    await turn();
    const held = worker.held;
    worker.complete(held[2]!, held[0]!);
    await turn();
    await turn();
    assert.deepEqual([...submission.status], [2, 1, 2, 1]);
    assert.equal(await settled(submission.completed), false);
    worker.complete(held[3]!, held[1]!);
    assert.deepEqual(await submission.completed, { completed: 4, abandoned: 0, withdrawn: 0 });
    assert.equal(nic.stats().transmit.outOfOrder, 2);
  });

  it('tries, and says where there is no room', async () => {
    await open();
    worker.completion = 'held';
    for (const frame of frames(8)) assert.equal(nic.trySend(frame), true);
    assert.equal(nic.trySend(numberedFrame(8, 60)), false);
    await turn();
    worker.complete(...worker.held);
    // What is done is taken on the way, without waiting for the call.
    assert.equal(nic.trySend(numberedFrame(8, 60)), true);
    worker.completion = 'copied';
    await nic.drain();
  });

  it('drains: nothing in flight, nothing waiting', async () => {
    await open();
    await nic.drain();
    worker.completion = 'held';
    const submission = nic.submit(frames(10));
    const drained = nic.drain();
    assert.equal(await settled(drained), false);
    worker.complete(...worker.held);
    assert.equal(await settled(drained), false, 'two of them waited for room');
    worker.complete(...worker.held);
    await drained;
    assert.equal(submission.pending, 0);
  });

  it('ends a drain when its signal aborts', async () => {
    await open();
    worker.completion = 'held';
    nic.submit(frames(2));
    const controller = new AbortController();
    const drained = nic.drain({ signal: controller.signal });
    controller.abort();
    await assert.rejects(drained, { name: 'AbortError' });
    assert.equal(nic.tx.ledger.inFlight, 2, 'the frames are sent all the same');
  });

  it('waits for room behind frames of the ring tier too', async () => {
    await open();
    worker.completion = 'held';
    for (let i = 0; i < 8; i++) {
      const buffer = nic.pool.lease();
      nic.pool.bytes.fill(0, nic.pool.offset(buffer), nic.pool.offset(buffer) + 72);
      nic.pool.length[buffer] = 72;
      nic.tx.post(buffer);
    }
    nic.tx.flush();
    const waiting = nic.send(numberedFrame(8, 60));
    assert.equal(await settled(waiting), false);
    worker.complete(...worker.held);
    assert.equal(await settled(waiting), true);
    worker.completion = 'copied';
  });

  it('gives receive buffers the room that frames in flight had taken', async () => {
    await open({ queueSize: 8, buffers: 16, bufferSize: 128, tap: { mtu: 900 } });
    worker.completion = 'held';
    // Longer than the reserve: frames that take what reception would need to be refilled.
    const submission = nic.submit(frames(2, 400));
    assert.equal(nic.pool.free, 0);
    const got: number[] = [];
    const receiving = (async () => {
      for await (const batch of nic.receive()) {
        got.push(batch.length);
        if (got.reduce((sum, count) => sum + count) === 12) return;
      }
    })();
    worker.receive(...frames(12));
    await turn();
    await turn();
    worker.complete(...worker.held);
    await submission.completed;
    worker.completion = 'copied';
    assert.equal(await settled(receiving), true, 'all that came was received');
  });

  it('lets the ring tier sleep until the device calls, and wakes it with an error at the end', async () => {
    await open();
    worker.completion = 'held';
    const post = (): void => {
      const buffer = nic.pool.lease();
      nic.pool.bytes.fill(0, nic.pool.offset(buffer), nic.pool.offset(buffer) + 72);
      nic.pool.length[buffer] = 72;
      nic.tx.post(buffer);
    };
    post();
    post();
    nic.tx.flush();
    const ready = nic.tx.ready();
    assert.equal(await settled(ready), false);
    worker.complete(...worker.held);
    await ready;
    assert.equal(nic.tx.reap(), 2);
    const controller = new AbortController();
    const aborted = assert.rejects(nic.tx.ready({ signal: controller.signal }), { name: 'AbortError' });
    controller.abort();
    await aborted;
    const closed = [nic.tx.ready(), nic.rx.ready()].map((wait) =>
      assert.rejects(wait, { code: 'ERR_VHOST_CLOSED' }),
    );
    await nic.close();
    await Promise.all(closed);
  });
});
