import assert from 'node:assert/strict';
import { bit } from '../../../lib/abi/bit.js';
import { IFF_ATTACH_QUEUE } from '../../../lib/abi/if-tun.js';
import { VIRTIO_NET_F_MQ } from '../../../lib/abi/virtio-net.js';
import type { Backend } from '../../../lib/backend/backend.js';
import { remoteBackend } from '../../../lib/backend/remote.js';
import { openTap } from '../../../lib/backend/tap.js';
import { HostDevice } from '../../../lib/net/host-device.js';
import { Nic } from '../../../lib/net/nic.js';
import { UnixConnection } from '../../../lib/socket/unix-connection.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { VhostUserClient } from '../../../lib/vhost/user/client.js';
import { replyFraming, requestFraming } from '../../../lib/vhost/user/protocol.js';
import { Requester } from '../../../lib/vhost/user/requester.js';
import { VhostUserSession } from '../../../lib/vhost/user/session.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { ModelWorkers } from '../../support/model-workers.js';
import { numberedFrame } from '../../support/queue-on-model.js';

const PAIRS = 3;

describe('vhost-user with several queue pairs', () => {
  let kernel: FakeKernel;
  let workers: ModelWorkers;
  let vhosts: KernelVhost[];
  let tap: Backend;
  let device: HostDevice;
  let session: VhostUserSession;
  let ended: Promise<void>;

  beforeEach(() => {
    kernel = new FakeKernel();
    workers = new ModelWorkers();
    kernel.attachDevice(workers);
    tap = openTap({ name: 'tap0', queues: PAIRS }, kernel);
    vhosts = tap.queues.map(() => KernelVhost.open({ kernel }));
    device = new HostDevice(kernel, vhosts, tap);
  });
  afterEach(async () => {
    await ended;
    assert.deepEqual(attached(), [], 'no queue is in that nobody serves');
    for (const vhost of vhosts) vhost.close();
    tap.close();
    await kernel.idle();
    kernel.assertNothingLeft();
  });

  /** A connection to the device. */
  function connect(): UnixConnection {
    const [back, front] = kernel.passing.pair();
    session = new VhostUserSession(kernel, new UnixConnection(kernel, back, requestFraming), device.lend());
    ended = session.run();
    return new UnixConnection(kernel, front, replyFraming);
  }

  async function open(queuePairs: number): Promise<Nic> {
    const client = await VhostUserClient.over(connect(), '/run/nowhere', kernel, queuePairs);
    const backend = remoteBackend({ queues: queuePairs });
    return Nic.open({ vhost: client.pairs, queuePairs, backend, queueSize: 8, kernel });
  }

  /** Queues of the tap that frames may come to. */
  function attached(): number[] {
    const calls = kernel.calls.filter(({ name }) => name === 'tun.setQueue');
    return [...tap.queues.keys()].filter(
      (queue) => calls.findLast(({ args }) => args[0] === tap.queues[queue])?.args[1] === IFF_ATTACH_QUEUE,
    );
  }

  it('says how many it has, and offers the driver to use them', async () => {
    const ask = new Requester(kernel, connect());
    assert.equal(await ask.ask('GET_QUEUE_NUM', undefined), BigInt(PAIRS));
    assert.ok(((await ask.ask('GET_FEATURES', undefined)) & bit(VIRTIO_NET_F_MQ)) !== 0n);
    await ask.tell('SET_FEATURES', bit(VIRTIO_NET_F_MQ) | (1n << 32n));
    assert.equal((await ask.ask('GET_STATUS', undefined)) ?? 0n, 0n);
    assert.equal(session.features, bit(VIRTIO_NET_F_MQ) | (1n << 32n));
    ask.close();
  });

  it('carries the frames of each pair by a device and a queue of the tap of its own', async () => {
    const nic = await open(PAIRS);
    assert.equal(session.features & bit(VIRTIO_NET_F_MQ), bit(VIRTIO_NET_F_MQ));
    assert.deepEqual(session.running, [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(attached(), [0, 1, 2]);
    for (const [i, pair] of nic.pairs.entries())
      for (let n = 0; n <= i; n++) await pair.send(numberedFrame(n, 60));
    await nic.drain();
    assert.deepEqual(
      workers.all.map(({ sent }) => sent.length),
      [1, 2, 3],
    );
    for (const [i, worker] of workers.all.entries()) worker.receive(numberedFrame(i, 60));
    let received = 0;
    for await (const batch of nic.receive()) {
      received += batch.length;
      if (received === PAIRS) break;
    }
    await nic.close();
  });

  it('takes a queue of the tap out with the pair that is stopped, and in again', async () => {
    const nic = await open(PAIRS);
    await nic.pairs[1]!.disable();
    assert.deepEqual(session.running, [0, 1, 4, 5]);
    assert.deepEqual(attached(), [0, 2]);
    await nic.pairs[1]!.enable();
    assert.deepEqual(
      [session.running, attached()],
      [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2],
      ],
    );
    await nic.close();
  });

  it('serves a front-end that has fewer on those alone, and the next on all', async () => {
    const first = await open(1);
    assert.deepEqual([session.running, attached()], [[0, 1], [0]]);
    await first.close();
    await ended;
    const second = await open(PAIRS);
    assert.deepEqual(attached(), [0, 1, 2]);
    await second.close();
  });

  it('refuses a front-end that wants more', async () => {
    await assert.rejects(open(PAIRS + 1), {
      code: 'ERR_VHOST_UNSUPPORTED',
      message: /4 queue pairs; it has 3/,
    });
  });

  it('ends the connection when the last pair is closed, and no sooner', async () => {
    const client = await VhostUserClient.over(connect(), '/run/nowhere', kernel, 2);
    const [first, second] = client.pairs as [VhostUserClient, VhostUserClient];
    first.close();
    await assert.rejects(first.getFeatures(), { code: 'ERR_VHOST_CLOSED' });
    await second.getFeatures();
    assert.ok(session.connection.isOpen);
    second.close();
    await ended;
  });
});
