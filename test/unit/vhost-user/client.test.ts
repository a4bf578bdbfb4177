import assert from 'node:assert/strict';
import { bit } from '../../../lib/abi/bit.js';
import { programBackend } from '../../../lib/backend/program.js';
import { remoteBackend } from '../../../lib/backend/remote.js';
import type { Region } from '../../../lib/memory/region.js';
import { Nic } from '../../../lib/net/nic.js';
import { UnixConnection } from '../../../lib/socket/unix-connection.js';
import { VhostUserClient } from '../../../lib/vhost/user/client.js';
import {
  decodeRequest,
  encodeAcknowledgement,
  encodeReply,
  hasAnswer,
  type Request,
  replyFraming,
  requestFraming,
  requestId,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from '../../../lib/vhost/user/protocol.js';
import { WorkerVhost } from '../../../lib/vhost/worker/worker-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { ModelWorker } from '../../support/model-worker.js';
import { numberedFrame } from '../../support/queue-on-model.js';
import { turn } from '../../support/until.js';
import { type SessionOnFake, startSession } from '../../support/vhost-user-on-fake.js';

describe('vhost-user client: a Nic over it, over the server, over a device', () => {
  let kernel: FakeKernel;
  let worker: ModelWorker;
  let served: SessionOnFake;
  let client: VhostUserClient;
  let nic: Nic;
  const errors: Error[] = [];

  async function open(start: (kernel: FakeKernel) => SessionOnFake = startSession): Promise<void> {
    kernel = new FakeKernel();
    worker = new ModelWorker();
    kernel.attachDevice(worker);
    served = start(kernel);
    client = await VhostUserClient.over(served.frontEnd, '/run/nowhere', kernel);
    nic = await Nic.open({ vhost: client, backend: remoteBackend(), queueSize: 8, kernel });
    errors.length = 0;
    nic.on('error', (error) => errors.push(error));
  }
  async function idle(): Promise<void> {
    for (let i = 0; i < 3; i++) await kernel.idle();
  }
  afterEach(async () => {
    await nic.close();
    await served.ended;
    await kernel.idle();
    kernel.assertNothingLeft();
  });

  it('sends what the device gets, and completes it', async () => {
    await open();
    const frames = Array.from({ length: 40 }, (_, i) => numberedFrame(i, 60 + i));
    for (const frame of frames) await nic.send(frame);
    await nic.drain();
    assert.deepEqual(
      worker.sent.map(({ frame }) => frame),
      frames.map((frame) => Buffer.from(frame)),
    );
    assert.equal(nic.stats().transmit.completed, 40);
  });

  it('receives what the device gets', async () => {
    await open();
    const frames = Array.from({ length: 20 }, (_, i) => numberedFrame(i, 60));
    worker.receive(...frames);
    const seen: Uint8Array[] = [];
    for await (const batch of nic.receive()) {
      for (const frame of batch) seen.push(frame.slice());
      if (seen.length === frames.length) break;
    }
    assert.deepEqual(seen, frames);
  });

  it('stops the device where it is, and starts it there again', async () => {
    await open();
    worker.completion = 'asleep';
    for (let i = 0; i < 3; i++) await nic.send(numberedFrame(i, 60));
    await nic.detach();
    assert.deepEqual(served.session.running, []);
    worker.completion = 'copied';
    await nic.attach();
    assert.deepEqual(served.session.running, [0, 1]);
    await nic.drain();
    assert.equal(worker.sent.length, 3);
  });

  it('has the device mark the pages that it writes, and tell of them', async () => {
    const program = programBackend({ transmit: () => {} });
    await open((kernel) => {
      const vhost = new WorkerVhost({ kernel });
      return startSession(kernel, { pairs: [{ vhost, backendFd: program.fd }] }, [vhost]);
    });
    const marked = kernel.eventfd.create();
    await client.setLogFd(marked);
    const log = await nic.startDirtyLog();
    const frame = numberedFrame(0, 60);
    program.deliver(frame);
    await idle();
    assert.ok(kernel.eventfd.take(marked) > 0);
    const pages = log.take();
    // Those of the buffer that the frame came into, and of the ring that tells of it.
    const [region] = nic.memory.regions as [Region];
    const buffer = region.guestPhysicalAddress + Buffer.from(region.buffer).indexOf(frame);
    for (const written of [buffer, Number(nic.rx.ring.addresses.log)])
      assert.ok(
        pages.some(({ guestPhysicalAddress: start, size }) => written >= start && written < start + size),
        `0x${written.toString(16)} among ${JSON.stringify(pages)}`,
      );
    kernel.eventfd.take(marked);
    await nic.stopDirtyLog();
    program.deliver(numberedFrame(1, 60));
    await idle();
    assert.equal(kernel.eventfd.take(marked), 0);
    kernel.descriptor.close(marked);
    program.close();
  });

  it('tells of a back-end that is gone', async () => {
    await open();
    await nic.send(numberedFrame(0, 60));
    served.session.connection.close();
    await served.ended;
    while (errors.length === 0) await turn();
    assert.equal((errors[0] as Error & { code: string }).code, 'ERR_VHOST_QUEUE_ERROR');
  });
});

/** A back-end that does as a test says. */
class ScriptedBackEnd {
  readonly seen: Request[] = [];
  readonly connection: UnixConnection;
  /** What it says to a request; by default what makes it well. */
  reply: ((request: Request) => Uint8Array | undefined) | undefined;
  readonly #protocol: bigint | undefined;
  readonly ended: Promise<void>;

  constructor(connection: UnixConnection, kernel: FakeKernel, protocol: bigint | undefined) {
    this.connection = connection;
    this.#protocol = protocol;
    this.ended = (async () => {
      for await (const { bytes, fds } of connection) {
        for (const fd of fds) kernel.descriptor.close(fd);
        const request = decodeRequest(bytes, fds.length) as Request;
        this.seen.push(request);
        const reply = this.answer(request);
        if (reply !== undefined) await connection.send(reply);
      }
    })();
  }

  private answer(request: Request): Uint8Array | undefined {
    if (this.reply !== undefined) return this.reply(request);
    const protocol = this.#protocol;
    if (request.name === 'GET_FEATURES')
      return encodeReply(
        request.name,
        protocol === undefined ? 7n : bit(VHOST_USER_F_PROTOCOL_FEATURES) | 7n,
      );
    if (request.name === 'GET_PROTOCOL_FEATURES') return encodeReply(request.name, protocol ?? 0n);
    if (request.name === 'GET_VRING_BASE') return encodeReply(request.name, { index: 0, num: 5 });
    if (hasAnswer(request.name)) return encodeReply(request.name as 'GET_STATUS', 0n);
    return request.needReply ? encodeAcknowledgement(requestId(request.name), true) : undefined;
  }
}

describe('vhost-user client: against a back-end that does as it likes', () => {
  let kernel: FakeKernel;
  let backEnd: ScriptedBackEnd;
  let client: VhostUserClient;

  async function open(protocol?: bigint): Promise<void> {
    kernel = new FakeKernel();
    const [server, own] = kernel.passing.pair();
    const back = new UnixConnection(kernel, server, requestFraming);
    const front = new UnixConnection(kernel, own, replyFraming);
    backEnd = new ScriptedBackEnd(back, kernel, protocol);
    client = await VhostUserClient.over(front, '/run/nowhere', kernel);
    await kernel.idle();
  }
  afterEach(async () => {
    client.close();
    await backEnd.ended.catch(() => {});
    await kernel.idle();
    kernel.assertNothingLeft();
  });
  const names = (): string[] => backEnd.seen.map(({ name }) => name);

  it('does without protocol features', async () => {
    await open();
    assert.equal(await client.getFeatures(), 7n);
    await client.setFeatures(5n);
    await client.setOwner();
    await kernel.idle();
    assert.deepEqual(names(), ['GET_FEATURES', 'GET_FEATURES', 'SET_FEATURES', 'SET_OWNER']);
    assert.deepEqual(backEnd.seen[2], { name: 'SET_FEATURES', payload: 5n, needReply: false });
    await assert.rejects(client.setLogBase(0n, { fd: 0, size: 1 }), { code: 'ERR_VHOST_UNSUPPORTED' });
  });

  it('agrees on no more than both know, and asks to be told', async () => {
    await open(0xffff_ffffn);
    assert.deepEqual(
      backEnd.seen.find(({ name }) => name === 'SET_PROTOCOL_FEATURES')?.payload,
      (1n << 0n) | (1n << 1n) | (1n << 3n) | (1n << 12n) | (1n << 15n),
    );
    await client.setFeatures(5n);
    assert.deepEqual(backEnd.seen.at(-1), {
      name: 'SET_FEATURES',
      payload: 5n | bit(VHOST_USER_F_PROTOCOL_FEATURES),
      needReply: true,
    });
  });

  it('tells everything of a ring when it starts, the kick last', async () => {
    await open(1n << 3n);
    client.setVringNum(1, 8);
    client.setVringBase(1, 3);
    await client.setVringAddr(1, {
      flags: 0,
      descriptorTable: 16n,
      availableRing: 32n,
      usedRing: 64n,
      log: 0n,
    });
    const fd = kernel.eventfd.create();
    await client.setVringKick(1, fd);
    const before = backEnd.seen.length;
    await client.setBackend(1, 0);
    assert.deepEqual(names().slice(before), [
      'SET_VRING_NUM',
      'SET_VRING_BASE',
      'SET_VRING_ADDR',
      'SET_VRING_CALL',
      'SET_VRING_ERR',
      'SET_VRING_KICK',
      'SET_VRING_ENABLE',
    ]);
    assert.throws(() => client.setVringNum(1, 8), { code: 'ERR_VHOST_IN_USE' });
    await client.detachBackend(1);
    assert.equal(client.getVringBase(1), 5);
    kernel.descriptor.close(fd);
  });

  it('says which request was refused', async () => {
    await open(1n << 3n);
    backEnd.reply = ({ name }) => encodeAcknowledgement(requestId(name), false);
    await assert.rejects(client.setFeatures(5n), {
      code: 'ERR_VHOST_UNSUPPORTED',
      request: 'VHOST_USER_SET_FEATURES',
    });
  });

  it('ends the connection at an answer to something else, at nonsense, and at what it did not ask for', async () => {
    for (const nonsense of [
      encodeReply('GET_QUEUE_NUM', 1n),
      encodeAcknowledgement(2, true).map((byte, at) => (at === 4 ? 0 : byte)),
      encodeReply('GET_VRING_BASE', { index: 0, num: 0 }),
    ]) {
      await open(1n << 3n);
      backEnd.reply = () => nonsense;
      await assert.rejects(client.setFeatures(5n), { code: 'ERR_VHOST_PROTOCOL' });
      await assert.rejects(client.getFeatures(), { code: 'ENOENT', path: '/run/nowhere' });
      client.close();
    }
    await open(1n << 3n);
    await backEnd.connection.send(encodeReply('GET_QUEUE_NUM', 1n));
    await kernel.idle();
    await assert.rejects(client.setFeatures(5n), { code: 'ENOENT' });
  });

  it('takes no descriptors from a back-end', async () => {
    await open(1n << 3n);
    const fd = kernel.eventfd.create();
    backEnd.reply = ({ name }) => {
      void backEnd.connection.send(encodeAcknowledgement(requestId(name), true), [fd]);
      return undefined;
    };
    await assert.rejects(client.setFeatures(5n), { code: 'ERR_VHOST_PROTOCOL' });
    kernel.descriptor.close(fd);
  });
});
