import assert from 'node:assert/strict';
import fc from 'fast-check';
import { hostKernel } from '../../../lib/kernel/host.js';
import type { Kernel } from '../../../lib/kernel/kernel.js';
import { UnixConnection } from '../../../lib/socket/unix-connection.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { runs, seed } from '../../support/random.js';
import { turn } from '../../support/until.js';
import { openDescriptors } from '../native/process-state.js';
import { byteFraming, message } from './byte-framing.js';

for (const [host, makeKernel] of [
  ['the host', () => hostKernel()],
  ['the fake kernel', () => new FakeKernel()],
] as const)
  describe(`unix connection on ${host}`, () => {
    let kernel: Kernel;
    let first: UnixConnection;
    let second: UnixConnection;
    let before: number;
    const received: number[] = [];

    beforeEach(() => {
      before = openDescriptors().size;
      kernel = makeKernel();
      [first, second] = UnixConnection.pair(kernel, byteFraming);
    });
    afterEach(async () => {
      for (const fd of received.splice(0)) kernel.descriptor.close(fd);
      first.close();
      second.close();
      await turn();
      if (kernel instanceof FakeKernel) kernel.assertNothingLeft();
      assert.equal(openDescriptors().size, before, 'nothing stays open');
    });

    it('takes messages one at a time, with the descriptors of each', async () => {
      const events = [kernel.eventfd.create(), kernel.eventfd.create()];
      received.push(...events);
      await first.send(message(1));
      await first.send(message(), [events[0]!]);
      await first.send(message(2, 3), events);
      await first.send(message(4));
      first.close();
      const seen: [number[], number][] = [];
      for await (const { bytes, fds } of second) {
        seen.push([[...bytes], fds.length]);
        received.push(...fds);
      }
      assert.deepEqual(seen, [
        [[1, 1], 0],
        [[0], 1],
        [[2, 2, 3], 2],
        [[1, 4], 0],
      ]);
      assert.equal(second.isOpen, false);
      assert.equal(await second.closed, undefined);
    });

    it('waits for a message that comes in parts', async () => {
      const [raw, other] = kernel.passing.pair();
      const connection = new UnixConnection(kernel, other, byteFraming);
      const next = connection.receive();
      for (const byte of message(5, 6, 7)) {
        await turn();
        kernel.passing.send(raw, Uint8Array.of(byte), []);
      }
      assert.deepEqual([...(await next)!.bytes], [3, 5, 6, 7]);
      const cut = connection.receive();
      kernel.passing.send(raw, Uint8Array.of(4, 1), []);
      kernel.descriptor.close(raw);
      await assert.rejects(cut, { code: 'ERR_VHOST_PROTOCOL', message: /ended 3 bytes before/ });
      assert.equal(connection.isOpen, false);
      assert.equal(((await connection.closed) as Error & { code: string }).code, 'ERR_VHOST_PROTOCOL');
    });

    it('loses nothing by a wait that was given up', async () => {
      const controller = new AbortController();
      const given = second.receive({ signal: controller.signal });
      await turn();
      controller.abort(new Error('given up'));
      await assert.rejects(given, { message: 'given up' });
      await first.send(message(1));
      assert.deepEqual([...(await second.receive())!.bytes], [1, 1]);
      await assert.rejects(second.receive({ signal: controller.signal }), { message: 'given up' });
    });

    it('refuses a second wait, and ends the first when it is closed', async () => {
      const waiting = second.receive();
      await assert.rejects(second.receive(), { code: 'ERR_VHOST_IN_USE' });
      second.close();
      assert.equal(await waiting, undefined);
      assert.equal(await second.receive(), undefined);
      assert.throws(() => second.peer, { code: 'ERR_VHOST_CLOSED' });
      await assert.rejects(second.send(message()), { code: 'ERR_VHOST_CLOSED' });
    });

    it('closes on a message that the framing does not allow, and keeps none of its descriptors', async () => {
      const event = kernel.eventfd.create();
      received.push(event);
      for (const [bytes, fds, what] of [
        [Uint8Array.of(255), [event], /no message begins with 255/],
        [Uint8Array.of(201), [event], /201 bytes of payload; 200 are allowed/],
        [message(1), [event, event, event, event], /4 descriptors or more; 3 are allowed/],
      ] as const) {
        const [sender, receiver] = UnixConnection.pair(kernel, byteFraming);
        await sender.send(bytes, fds);
        await assert.rejects(receiver.receive(), { code: 'ERR_VHOST_PROTOCOL', message: what });
        assert.equal(receiver.isOpen, false);
        await assert.rejects(sender.send(message()), { code: 'EPIPE' });
        assert.equal(sender.isOpen, false);
      }
    });

    it('holds messages back for a peer that does not read, up to a bound, and sends them in order', async () => {
      const long = message(...Array(200).fill(0));
      const sent: Promise<void>[] = [];
      let refused = 0;
      // More than any socket's buffer takes.
      for (let i = 0; i < 100_000 && refused === 0; i++) {
        long[1] = i;
        sent.push(
          first.send(long.slice()).catch((error: NodeJS.ErrnoException) => {
            assert.equal(error.code, 'ERR_VHOST_QUEUE_FULL');
            refused++;
          }),
        );
        // A refusal is told in a microtask.
        await Promise.resolve();
      }
      assert.equal(refused, 1);
      for (let i = 0; i < sent.length - 1; i++) assert.equal((await second.receive())!.bytes[1], i & 0xff);
      await Promise.all(sent);
    });

    it('rejects what waits to be sent when it closes', async () => {
      const long = message(...Array(200).fill(0));
      const outcomes = Array.from({ length: 10_000 }, () =>
        first.send(long).then(
          () => 'sent',
          (error: NodeJS.ErrnoException) => error.code,
        ),
      );
      first.close();
      const seen = new Set(await Promise.all(outcomes));
      assert.deepEqual(seen, new Set(['sent', 'ERR_VHOST_CLOSED', 'ERR_VHOST_QUEUE_FULL']));
    });

    it('lets the loop turn while a peer floods', async () => {
      for (let i = 0; i < 128; i++) await first.send(message(1));
      let turns = 0;
      let counting = true;
      const count = (): void => {
        turns++;
        if (counting) setImmediate(count);
      };
      setImmediate(count);
      for (let i = 0; i < 128; i++) await second.receive();
      counting = false;
      assert.ok(turns >= 2, `${turns} turns`);
    });
  });

describe('unix connection: any stream of bytes', () => {
  it('gives the messages it is made of, however it is cut, or the error', async () => {
    const kernel = new FakeKernel();
    const cuts = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(cuts, async (parts) => {
        const [raw, end] = kernel.passing.pair();
        const connection = new UnixConnection(kernel, end, byteFraming);
        for (const part of parts) kernel.passing.send(raw, part, []);
        kernel.descriptor.close(raw);
        const bytes = Buffer.concat(parts);
        let at = 0;
        try {
          for await (const { bytes: taken } of connection) {
            assert.deepEqual(taken, new Uint8Array(bytes.subarray(at, at + 1 + bytes[at]!)));
            at += taken.length;
          }
          assert.equal(at, bytes.length);
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'ERR_VHOST_PROTOCOL');
          assert.ok(bytes[at]! > 200 || at + 1 + bytes[at]! > bytes.length);
        }
        assert.equal(connection.isOpen, false);
      }),
      { numRuns: runs(200), seed },
    );
    await kernel.idle();
    kernel.assertNothingLeft();
  });
});
