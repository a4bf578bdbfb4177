import assert from 'node:assert/strict';
import { bit } from '../../../lib/abi/bit.js';
import { VHOST_F_LOG_ALL, VHOST_NET_F_VIRTIO_NET_HDR } from '../../../lib/abi/vhost.js';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1 } from '../../../lib/abi/virtio-config.js';
import type { Mapping } from '../../../lib/kernel/kernel.js';
import {
  type MemoryRegion,
  protocolFeatureBits,
  VHOST_USER_F_PROTOCOL_FEATURES,
  type VringAddress,
} from '../../../lib/vhost/user/protocol.js';
import { Requester } from '../../../lib/vhost/user/requester.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { ModelWorker } from '../../support/model-worker.js';
import { type SessionOnFake, startSession } from '../../support/vhost-user-on-fake.js';

const PROTOCOL = bit(VHOST_USER_F_PROTOCOL_FEATURES);
const V1 = bit(VIRTIO_F_VERSION_1);
/** Where the front-end has its memory, in its own address space. */
const USER = 0x7000_0000_0000n;
const GPA = 0x4000_0000n;
const SIZE = 8;

describe('vhost-user session', () => {
  let kernel: FakeKernel;
  let worker: ModelWorker;
  let served: SessionOnFake;
  let ask: Requester;
  let memory: Mapping;
  const own: number[] = [];

  beforeEach(() => {
    kernel = new FakeKernel();
    worker = new ModelWorker();
    kernel.attachDevice(worker);
    memory = kernel.memory.create('guest', 0x1_0000, 0);
    start();
  });
  afterEach(async () => {
    ask.close();
    await served.ended.catch(() => {});
    kernel.memory.unmap(memory);
    for (const fd of own.splice(0)) kernel.descriptor.close(fd);
    kernel.assertNothingLeft();
  });

  function start(more: Parameters<typeof startSession>[1] = {}): void {
    served = startSession(kernel, more);
    ask = new Requester(kernel, served.frontEnd);
  }

  function eventfd(): number {
    const fd = kernel.eventfd.create();
    own.push(fd);
    return fd;
  }

  const region = (more: Partial<MemoryRegion> = {}): MemoryRegion => ({
    guestPhysicalAddress: GPA,
    size: 0x1_0000n,
    userAddress: USER,
    offset: 0n,
    ...more,
  });

  const addresses = (index: number, more: Partial<VringAddress> = {}): VringAddress => ({
    index,
    flags: 0,
    descriptorTable: USER + BigInt(0x1000 * index),
    availableRing: USER + BigInt(0x1000 * index + 0x400),
    usedRing: USER + BigInt(0x1000 * index + 0x800),
    log: 0n,
    ...more,
  });

  async function agree(features = V1 | PROTOCOL): Promise<void> {
    await ask.tell('SET_PROTOCOL_FEATURES', await ask.ask('GET_PROTOCOL_FEATURES', undefined));
    ask.acknowledged = true;
    await ask.tell('SET_OWNER', undefined);
    await ask.tell('SET_FEATURES', features);
  }

  async function setUp(index: number): Promise<{ kick: number; call: number }> {
    const kick = eventfd();
    const call = eventfd();
    await ask.tell('SET_VRING_NUM', { index, num: SIZE });
    await ask.tell('SET_VRING_BASE', { index, num: 0 });
    await ask.tell('SET_VRING_ADDR', addresses(index));
    await ask.tell('SET_VRING_KICK', { index, hasFd: true }, [kick]);
    await ask.tell('SET_VRING_CALL', { index, hasFd: true }, [call]);
    return { kick, call };
  }

  async function startQueue(index: number): Promise<{ kick: number; call: number }> {
    const fds = await setUp(index);
    await ask.tell('SET_VRING_ENABLE', { index, num: 1 });
    return fds;
  }

  const refusal = { code: 'ERR_VHOST_UNSUPPORTED', message: /refused/ };

  it('offers what the device offers, and what the protocol adds', async () => {
    const offered = await ask.ask('GET_FEATURES', undefined);
    assert.equal(offered & bit(VHOST_NET_F_VIRTIO_NET_HDR), 0n);
    assert.equal(offered & bit(VIRTIO_F_ACCESS_PLATFORM), 0n);
    assert.equal(offered & PROTOCOL, PROTOCOL);
    assert.equal(
      await ask.ask('GET_PROTOCOL_FEATURES', undefined),
      protocolFeatureBits('MQ', 'LOG_SHMFD', 'REPLY_ACK', 'CONFIGURE_MEM_SLOTS', 'STATUS'),
    );
    assert.equal(await ask.ask('GET_QUEUE_NUM', undefined), 1n);
    assert.equal(await ask.ask('GET_MAX_MEM_SLOTS', undefined), 64n);
  });

  it('starts a queue at addresses of its own, stops it by GET_VRING_BASE, starts it again there', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    await startQueue(1);
    const told = kernel.calls.findLast(({ name }) => name === 'vhost.setVringAddr')!.args[2] as {
      descriptorTable: bigint;
      usedRing: bigint;
    };
    const [mapped] = kernel.openMappings().filter(({ name }) => name === 'map');
    assert.equal(told.descriptorTable, mapped!.address + 0x1000n);
    assert.equal(told.usedRing, mapped!.address + 0x1800n);
    assert.deepEqual(served.session.running, [1]);
    assert.deepEqual(await ask.ask('GET_VRING_BASE', { index: 1, num: 0 }), { index: 1, num: 0 });
    assert.deepEqual(served.session.running, []);
    // Not before it is told where to be kicked.
    await ask.tell('SET_VRING_ENABLE', { index: 1, num: 1 });
    assert.deepEqual(served.session.running, []);
    await ask.tell('SET_VRING_KICK', { index: 1, hasFd: true }, [eventfd()]);
    assert.deepEqual(served.session.running, [1]);
  });

  it('takes frames of the front-end and calls it', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    const { kick, call } = await startQueue(1);
    const view = new DataView(memory.buffer);
    view.setBigUint64(0x1000, GPA + 0x8000n, true);
    view.setUint32(0x1008, 72, true);
    view.setUint16(0x1402, 1, true);
    new Uint8Array(memory.buffer).fill(0xab, 0x8000 + 12, 0x8000 + 72);
    kernel.eventfd.signal(kick);
    await kernel.idle();
    assert.equal(worker.sent.length, 1);
    assert.equal(worker.sent[0]!.frame[0], 0xab);
    assert.equal(view.getUint16(0x1802, true), 1);
    assert.equal(kernel.eventfd.take(call), 1);
  });

  it('starts a ring at once where protocol features were not agreed on', async () => {
    await ask.tell('SET_OWNER', undefined);
    await ask.tell('SET_FEATURES', V1);
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    await setUp(0);
    await ask.ask('GET_FEATURES', undefined);
    assert.deepEqual(served.session.running, [0]);
  });

  it('stops and starts by SET_VRING_ENABLE, RESET_OWNER and a reset of the status', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    await startQueue(0);
    await startQueue(1);
    await ask.tell('SET_VRING_ENABLE', { index: 0, num: 0 });
    assert.deepEqual(served.session.running, [1]);
    await ask.tell('SET_VRING_ENABLE', { index: 0, num: 1 });
    assert.deepEqual(served.session.running, [0, 1]);
    await ask.tell('RESET_OWNER', undefined);
    assert.deepEqual(served.session.running, []);
    await ask.tell('SET_VRING_ENABLE', { index: 1, num: 1 });
    await ask.tell('SET_STATUS', 0x0fn);
    assert.equal(await ask.ask('GET_STATUS', undefined), 0x0fn);
    assert.deepEqual(served.session.running, [1]);
    await ask.tell('SET_STATUS', 0n);
    assert.deepEqual(served.session.running, []);
  });

  it('moves running rings to a new memory table, where they were', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    await startQueue(1);
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    assert.deepEqual(served.session.running, [1]);
    assert.equal(kernel.openMappings().filter(({ name }) => name === 'map').length, 1);
  });

  it('takes regions one by one, and gives them back', async () => {
    await agree();
    const more = kernel.memory.create('more', 0x1000, 0);
    await ask.tell('ADD_MEM_REG', region(), [memory.fd]);
    const second = { guestPhysicalAddress: 0n, size: 0x1000n, userAddress: 0x1000n, offset: 0n };
    await startQueue(0);
    await ask.tell('ADD_MEM_REG', second, [more.fd]);
    assert.deepEqual(served.session.running, [0]);
    await ask.tell('REM_MEM_REG', second, [more.fd]);
    await assert.rejects(ask.tell('REM_MEM_REG', second), refusal);
    assert.equal(kernel.openMappings().filter(({ name }) => name === 'map').length, 1);
    kernel.memory.unmap(more);
  });

  it('refuses a region that overlaps another, goes beyond its file, or is no file', async () => {
    await agree();
    await ask.tell('ADD_MEM_REG', region(), [memory.fd]);
    const apart = { guestPhysicalAddress: 0n, userAddress: 0n, size: 0x1000n };
    for (const [bad, fd] of [
      [region({ userAddress: 0n }), memory.fd],
      [region({ guestPhysicalAddress: 0n }), memory.fd],
      [region({ ...apart, size: 0x1_1000n }), memory.fd],
      [region({ ...apart, offset: 0x1_0000n }), memory.fd],
      [region({ ...apart, size: 1n << 60n }), memory.fd],
      [region({ ...apart, userAddress: 2n ** 64n - 1n }), memory.fd],
      [region(apart), eventfd()],
    ] as const)
      await assert.rejects(ask.tell('ADD_MEM_REG', bad, [fd]), refusal);
    assert.equal(served.refused.length, 7);
    assert.equal(kernel.openMappings().filter(({ name }) => name === 'map').length, 1);
  });

  it('refuses a ring that is not all inside a region, of no size, or polled', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    await assert.rejects(startQueue(7), refusal);
    await assert.rejects(ask.tell('SET_VRING_NUM', { index: 0, num: 3 }), refusal);
    await setUp(0);
    for (const more of [
      { descriptorTable: USER - 16n },
      { availableRing: USER + 0x1_0000n - 8n },
      { usedRing: GPA },
    ]) {
      await ask.tell('SET_VRING_ADDR', addresses(0, more));
      await assert.rejects(ask.tell('SET_VRING_ENABLE', { index: 0, num: 1 }), refusal);
    }
    await ask.tell('SET_VRING_ADDR', addresses(0));
    await ask.tell('SET_VRING_ENABLE', { index: 0, num: 0 });
    await ask.tell('SET_VRING_KICK', { index: 0, hasFd: false });
    await assert.rejects(ask.tell('SET_VRING_ENABLE', { index: 0, num: 1 }), refusal);
    assert.deepEqual(served.session.running, []);
  });

  it('logs into the front-end’s bitmap, if that is long enough for all of its memory', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    const log = kernel.memory.create('log', 0x1_0000, 0);
    const logging = V1 | PROTOCOL | bit(VHOST_F_LOG_ALL);
    await assert.rejects(ask.tell('SET_FEATURES', logging), refusal);
    await ask.ask('SET_LOG_BASE', { size: 0x1_0000n, offset: 0n }, [log.fd]);
    await ask.tell('SET_FEATURES', logging);
    await startQueue(0);
    await ask.tell('SET_VRING_ADDR', addresses(0, { flags: 1, log: GPA }));
    // One bit beyond the last of the bitmap.
    const beyond = BigInt(0x1_0000 * 8 * 4096);
    await assert.rejects(ask.tell('SET_VRING_ADDR', addresses(0, { flags: 1, log: beyond })), refusal);
    await assert.rejects(
      ask.tell('ADD_MEM_REG', { guestPhysicalAddress: beyond, size: 0x1000n, userAddress: 0n, offset: 0n }, [
        memory.fd,
      ]),
      refusal,
    );
    kernel.memory.unmap(log);
    await assert.rejects(ask.ask('SET_LOG_BASE', { size: 0x100n, offset: 0n }, [memory.fd]), {
      code: 'ERR_VHOST_CLOSED',
    });
  });

  it('hands the eventfd of the log over to the device', async () => {
    await agree();
    const fd = eventfd();
    await ask.tell('SET_LOG_FD', undefined, [fd]);
    const [, told] = kernel.calls.findLast(({ name }) => name === 'vhost.setLogFd')!.args;
    assert.notEqual(told, fd);
    assert.ok(
      !kernel.openDescriptors().some((open) => open.fd === told),
      'the device has it, not the server',
    );
    await assert.rejects(ask.tell('SET_LOG_FD', undefined), refusal);
  });

  it('has a device that can be told of an MTU agree to it, or not', async () => {
    ask.close();
    await served.ended;
    const mtus: number[] = [];
    start({
      setMtu: (mtu) => {
        if (mtu > 1500) throw new Error('too large');
        mtus.push(mtu);
      },
    });
    await agree();
    const offered = await ask.ask('GET_PROTOCOL_FEATURES', undefined);
    assert.ok((offered & protocolFeatureBits('NET_MTU')) !== 0n);
    await ask.tell('NET_SET_MTU', 1500n);
    await assert.rejects(ask.tell('NET_SET_MTU', 9000n), refusal);
    await assert.rejects(ask.tell('NET_SET_MTU', 1n << 32n), refusal);
    assert.deepEqual(mtus, [1500]);
  });

  it('ends at what it cannot do where the front-end would not know', async () => {
    await ask.tell('SET_FEATURES', 1n << 62n);
    await assert.rejects(served.ended, { code: 'ERR_VHOST_OUT_OF_RANGE' });
  });

  it('ends at a request that was not agreed on, but for one that asks for an answer', async () => {
    await agree();
    await assert.rejects(
      ask.tell('SET_INFLIGHT_FD', { size: 1n, offset: 0n, queues: 1, queueSize: 1 }),
      refusal,
    );
    await assert.rejects(ask.tell('NET_SET_MTU', 1500n), refusal);
    await assert.rejects(ask.ask('GET_INFLIGHT_FD', { size: 1n, offset: 0n, queues: 1, queueSize: 1 }), {
      code: 'ERR_VHOST_CLOSED',
    });
    await assert.rejects(served.ended, { code: 'ERR_VHOST_UNSUPPORTED' });
  });

  it('lets go of everything when the front-end vanishes in the midst of traffic', async () => {
    await agree();
    await ask.tell('SET_MEM_TABLE', [region()], [memory.fd]);
    await startQueue(0);
    await startQueue(1);
    ask.close();
    await served.ended;
    assert.deepEqual(served.session.running, []);
  });
});
