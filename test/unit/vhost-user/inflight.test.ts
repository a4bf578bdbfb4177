import assert from 'node:assert/strict';
import { programBackend } from '../../../lib/backend/program.js';
import type { Mapping } from '../../../lib/kernel/kernel.js';
import { protocolFeatureBits } from '../../../lib/vhost/user/protocol.js';
import { Requester } from '../../../lib/vhost/user/requester.js';
import { WorkerVhost } from '../../../lib/vhost/worker/worker-vhost.js';
import { Inflight, inflightBytes } from '../../../lib/vring/inflight.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { type SessionOnFake, startSession } from '../../support/vhost-user-on-fake.js';
import { Keeper } from '../../support/worker-on-fake.js';

const USER = 0x7000_0000_0000n;
const GPA = 0x4000_0000n;
const SIZE = 8;
const TX = 1;
const refusal = { code: 'ERR_VHOST_UNSUPPORTED', message: /refused/ };

/** Requests of a front-end whose queue 1 transmits to a program, which completes frames out of order. */
describe('vhost-user session: in-flight memory', () => {
  let kernel: FakeKernel;
  let memory: Mapping;
  let served: SessionOnFake;
  let ask: Requester;
  let keeper: Keeper;
  let program: ReturnType<typeof programBackend>;
  let kick: number;

  beforeEach(async () => {
    kernel = new FakeKernel();
    memory = kernel.memory.create('guest', 0x1_0000, 0);
    keeper = new Keeper();
    program = programBackend(keeper);
    kick = kernel.eventfd.create();
    const vhost = new WorkerVhost({ kernel });
    served = startSession(kernel, { pairs: [{ vhost, backendFd: program.fd }] }, [vhost]);
    ask = new Requester(kernel, served.frontEnd);
    await ask.tell('SET_PROTOCOL_FEATURES', await ask.ask('GET_PROTOCOL_FEATURES', undefined));
    ask.acknowledged = true;
    await ask.tell('SET_FEATURES', (1n << 32n) | (1n << 30n));
    const region = { guestPhysicalAddress: GPA, size: 0x1_0000n, userAddress: USER, offset: 0n };
    await ask.tell('SET_MEM_TABLE', [region], [memory.fd]);
  });
  afterEach(async () => {
    ask.close();
    await finishing(served.ended);
    program.close();
    kernel.memory.unmap(memory);
    kernel.descriptor.close(kick);
    kernel.assertNothingLeft();
  });

  async function finishing(work: Promise<unknown>): Promise<void> {
    const timer = setInterval(() => {
      for (const { finish } of keeper.held) finish();
    });
    await work.finally(() => clearInterval(timer));
  }

  async function start(base = 0): Promise<void> {
    await ask.tell('SET_VRING_NUM', { index: TX, num: SIZE });
    await ask.tell('SET_VRING_BASE', { index: TX, num: base });
    const [descriptorTable, availableRing, usedRing] = [USER, USER + 0x400n, USER + 0x800n];
    await ask.tell('SET_VRING_ADDR', {
      index: TX,
      flags: 0,
      descriptorTable,
      availableRing,
      usedRing,
      log: 0n,
    });
    await ask.tell('SET_VRING_KICK', { index: TX, hasFd: true }, [kick]);
    await ask.tell('SET_VRING_ENABLE', { index: TX, num: 1 });
  }

  /** Makes frames of one byte available, the head of each that byte. */
  async function send(first: number, ...heads: number[]): Promise<void> {
    const view = new DataView(memory.buffer);
    for (const [i, head] of heads.entries()) {
      view.setBigUint64(16 * head, GPA + 0x8000n + BigInt(64 * head), true);
      view.setUint32(16 * head + 8, 13, true);
      view.setUint8(0x8000 + 64 * head + 12, head);
      view.setUint16(0x404 + 2 * (first + i), head, true);
    }
    view.setUint16(0x402, first + heads.length, true);
    kernel.eventfd.signal(kick);
    await idle();
  }

  async function idle(): Promise<void> {
    for (let i = 0; i < 3; i++) await kernel.idle();
  }

  const held = (): number[] => keeper.held.map(({ frame }) => frame[0]!);
  const finish = async (head: number): Promise<void> => {
    keeper.held.findLast(({ frame }) => frame[0] === head)!.finish();
    await idle();
  };
  const used = (): number[] => {
    const view = new DataView(memory.buffer);
    return Array.from({ length: view.getUint16(0x802, true) }, (_, i) => view.getUint32(0x804 + 8 * i, true));
  };

  it('is offered by a device that may complete out of order', async () => {
    const offered = await ask.ask('GET_PROTOCOL_FEATURES', undefined);
    assert.ok((offered & protocolFeatureBits('INFLIGHT_SHMFD')) !== 0n);
  });

  it('is made for the front-end, and has the heads that the device has', async () => {
    const { reply, fds } = await ask.askFor('GET_INFLIGHT_FD', {
      size: 0n,
      offset: 0n,
      queues: 2,
      queueSize: SIZE,
    });
    assert.deepEqual(reply, { size: 4096n, offset: 0n, queues: 2, queueSize: SIZE });
    const mapping = kernel.memory.map(fds[0]!, 0, 4096);
    const inflight = new Inflight({ buffer: mapping.buffer, offset: inflightBytes(SIZE) }, SIZE);
    await start();
    await send(0, 5, 6, 7);
    assert.deepEqual(inflight.heads(), [5, 6, 7]);
    await finish(6);
    assert.deepEqual([inflight.heads(), used()], [[5, 7], [6]]);
    kernel.memory.unmap(mapping);
    kernel.descriptor.close(fds[0]!);
  });

  it('of the device before is believed rather than the base: what that had is taken first', async () => {
    const area = { size: 4096n, offset: 0n, queues: 2, queueSize: SIZE };
    const mapping = kernel.memory.create('inflight', 4096, 0);
    const before = new Inflight({ buffer: mapping.buffer, offset: inflightBytes(SIZE) }, SIZE);
    before.recover(0);
    for (const head of [5, 6, 7]) before.take(head);
    before.use(6);
    before.shown(1, 1);
    await send(0, 5, 6, 7, 3);
    new DataView(memory.buffer).setUint32(0x804, 6, true);
    new DataView(memory.buffer).setUint16(0x802, 1, true);
    await ask.tell('SET_INFLIGHT_FD', area, [mapping.fd]);
    await start(1);
    await idle();
    assert.deepEqual(held(), [5, 7, 3]);
    for (const head of [7, 3, 5]) await finish(head);
    assert.deepEqual(used(), [6, 7, 3, 5]);
    assert.deepEqual(before.heads(), []);
    assert.deepEqual(await ask.ask('GET_VRING_BASE', { index: TX, num: 0 }), { index: TX, num: 4 });
    kernel.memory.unmap(mapping);
  });

  it('that a front-end does not ask for is made up for by order: its used index says where to go on', async () => {
    await start();
    await send(0, 5, 6, 7);
    await finish(6);
    await finish(7);
    assert.deepEqual(used(), []);
    await finish(5);
    assert.deepEqual(used(), [5, 6, 7]);
  });

  it('is refused where it is too short, for other queues than there are, no file, or while a ring runs', async () => {
    const area = { size: 4096n, offset: 0n, queues: 2, queueSize: SIZE };
    const mapping = kernel.memory.create('inflight', 4096, 0);
    for (const [more, fd] of [
      [{ queues: 3 }, mapping.fd],
      [{ queues: 0 }, mapping.fd],
      [{ queueSize: 0 }, mapping.fd],
      [{ queueSize: 256 }, mapping.fd],
      [{ size: 8192n }, mapping.fd],
      [{ offset: 2n ** 64n - 1n }, mapping.fd],
      [{}, kick],
    ] as const)
      await assert.rejects(ask.tell('SET_INFLIGHT_FD', { ...area, ...more }, [fd]), refusal);
    await ask.tell('SET_INFLIGHT_FD', { ...area, queueSize: 4 }, [mapping.fd]);
    // The ring is larger than what it is to be noted in.
    await assert.rejects(start(), refusal);
    await ask.tell('SET_INFLIGHT_FD', area, [mapping.fd]);
    await start();
    await assert.rejects(ask.tell('SET_INFLIGHT_FD', area, [mapping.fd]), refusal);
    kernel.memory.unmap(mapping);
  });
});
