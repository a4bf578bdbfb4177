import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import {
  encodeRequest,
  protocolFeatureBits,
  type RequestName,
  type RequestPayload,
} from '../../../lib/vhost/user/protocol.js';
import type { Vhost } from '../../../lib/vhost/vhost.js';
import { WorkerVhost } from '../../../lib/vhost/worker/worker-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { ModelWorkers } from '../../support/model-workers.js';
import { long, runs, seed } from '../../support/random.js';
import { startSession } from '../../support/vhost-user-on-fake.js';
import { anyRequest, hostileBytes } from './arbitrary-messages.js';

const USER = 0x7000_0000_0000n;
const SIZE = 0x1_0000n;

type Passed = 'memory' | 'event';

/** What a front-end may say that means well, so that hostile words find a device that is set up. */
function wellMeant(index: number, flag: boolean): { bytes: Uint8Array; fds: Passed[] }[] {
  const say = <N extends RequestName>(name: N, payload: RequestPayload<N>, ...fds: Passed[]) => ({
    bytes: encodeRequest(name, payload, true),
    fds,
  });
  const at = USER + BigInt(index * 0x1000);
  const region = { guestPhysicalAddress: 0x10_0000n, size: SIZE, userAddress: USER, offset: 0n };
  const address = {
    index,
    flags: 0,
    descriptorTable: at,
    availableRing: at + 0x400n,
    usedRing: at + 0x800n,
    log: 0n,
  };
  return [
    say('SET_PROTOCOL_FEATURES', protocolFeatureBits('REPLY_ACK')),
    say('SET_FEATURES', (1n << 32n) | (flag ? 1n << 30n : 0n)),
    say('SET_MEM_TABLE', [region], 'memory'),
    say('SET_VRING_NUM', { index, num: 8 }),
    say('SET_VRING_ADDR', address),
    say('SET_VRING_KICK', { index, hasFd: true }, 'event'),
    say('SET_VRING_ENABLE', { index, num: 1 }),
    say('SET_VRING_CALL', { index, hasFd: true }, 'event'),
    say('SET_LOG_BASE', { size: SIZE, offset: 0n }, 'memory'),
    say('GET_VRING_BASE', { index, num: 0 }),
    say('GET_INFLIGHT_FD', { size: 0n, offset: 0n, queues: 2, queueSize: 8 }),
    say('SET_INFLIGHT_FD', { size: SIZE, offset: 0n, queues: 2, queueSize: 8 }, 'memory'),
    say('ADD_MEM_REG', { ...region, guestPhysicalAddress: 0n, userAddress: 0n }, 'memory'),
    say('REM_MEM_REG', { ...region, guestPhysicalAddress: 0n, userAddress: 0n }),
  ];
}

const preface = fc
  .tuple(fc.nat(3), fc.boolean(), fc.nat(14))
  .map(([index, flag, length]) => wellMeant(index, flag).slice(0, length));
const anyFds = fc.array(fc.constantFrom<Passed>('memory', 'event'), { maxLength: 9 });
const message = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(fc.nat(1), fc.boolean(), fc.nat(11))
      .map(([index, flag, at]) => wellMeant(index, flag)[at]!),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(anyRequest, anyFds).map(([{ name, payload }, fds]) => ({
      bytes: encodeRequest(name, payload as RequestPayload<RequestName>, true),
      fds,
    })),
  },
  { weight: 1, arbitrary: fc.tuple(hostileBytes, anyFds).map(([bytes, fds]) => ({ bytes, fds })) },
);

const devices: Record<string, (kernel: FakeKernel) => Vhost> = {
  'the kernel’s device': (kernel) => KernelVhost.open({ kernel }),
  'the worker': (kernel) => new WorkerVhost({ kernel }),
};

for (const [name, openVhost] of Object.entries(devices))
  describe(`vhost-user session over ${name}: any front-end`, () => {
    it('is served or shown the door, and leaves nothing behind', async function () {
      this.timeout(0);
      let [sent, started] = [0, 0];
      await fc.assert(
        fc.asyncProperty(
          preface,
          fc.array(message, { maxLength: 40 }),
          fc.uint8Array({ maxLength: 0x1000 }),
          async (first, messages, rings) => {
            const kernel = new FakeKernel();
            kernel.attachDevice(new ModelWorkers());
            const memory = kernel.memory.create('guest', Number(SIZE), 0);
            // Where the rings are, and what they lead to.
            new Uint8Array(memory.buffer).set(rings);
            const event = kernel.eventfd.create();
            const { session, frontEnd, ended } = startSession(kernel, {}, [
              openVhost(kernel),
              openVhost(kernel),
            ]);
            let over = false;
            const end = ended.then(
              () => undefined,
              (error: unknown) => error,
            );
            void end.then(() => {
              over = true;
            });
            for (const { bytes, fds } of [...first, ...messages]) {
              if (over || !frontEnd.isOpen) break;
              if (bytes.length > 0)
                await frontEnd
                  .send(
                    bytes,
                    fds.map((kind) => (kind === 'memory' ? memory.fd : event)),
                  )
                  .catch(() => {});
              sent++;
              await kernel.idle();
              if (session.running.length > 0) started++;
            }
            frontEnd.close();
            const error = await end;
            if (error !== undefined)
              assert.match((error as { code?: string }).code ?? String(error), /^E[A-Z_]+$/);
            kernel.memory.unmap(memory);
            kernel.descriptor.close(event);
            await kernel.idle();
            kernel.assertNothingLeft();
          },
        ),
        { numRuns: runs(long ? 20_000 : 100), seed },
      );
      assert.ok(started > 0, 'some front-end got as far as a queue that runs');
      if (long) console.log(`      ${sent} messages, ${started} of them while a queue ran`);
    });
  });
