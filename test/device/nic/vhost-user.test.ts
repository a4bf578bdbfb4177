import assert from 'node:assert/strict';
import { chownSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Nic, type NicPair, remoteBackend, VhostUserClient } from '../../../lib/index.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { EchoFlow } from '../../support/icmp-echo.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { ServerProcess, WITHOUT_PRIVILEGES } from '../../support/server-process.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { onKernel, overWorker, testDevice } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';

const FRAMES = 50_000;
const FLOWS = 64;
const NOBODY = 65_534;
const device = overWorker ? 'worker' : '/dev/vhost-net';

describe('vhost-user: a Nic over the client, over the proxy, over a device', function () {
  this.timeout(600_000);
  let folder: ReturnType<typeof temporaryFolder>;
  let socket: string;
  let namespace: Namespace;
  let proxy: ServerProcess;
  let near: Nic;
  let far: Nic;
  const errors: Error[] = [];

  async function startProxy(...more: string[]): Promise<void> {
    proxy = await ServerProcess.proxy(
      '--socket',
      socket,
      '--tap',
      'tap-a',
      '--netns',
      namespace.name,
      '--device',
      device,
      ...more,
    );
    namespace.ip('link', 'set', 'tap-a', 'master', 'cable');
  }

  beforeEach(async () => {
    folder = temporaryFolder();
    // The proxy removes its socket as the user that it has become.
    chownSync(folder.path, NOBODY, NOBODY);
    socket = join(folder.path, 'socket');
    namespace = Namespace.add();
    far = await namespace.nic('tap-b');
    namespace.bridge('cable', 'tap-b');
    await startProxy('--user', String(NOBODY), '--group', String(NOBODY));
    const vhost = await VhostUserClient.connect({ path: socket });
    near = await Nic.open({ vhost, backend: remoteBackend() });
    errors.length = 0;
    near.on('error', (error) => errors.push(error));
  });
  afterEach(async () => {
    await near.close();
    await proxy.end();
    await namespace.remove();
    folder.remove();
  });

  it(`carries ${FRAMES} frames each way, every byte of them, in order`, async () => {
    await run(
      new Flow(near, far, new NumberedFrames(60, 'a', 'b'), FRAMES),
      new Flow(far, near, new NumberedFrames(60, 'b', 'a'), FRAMES),
    );
    const { submitted, completed, abandoned, inFlight } = near.stats().transmit;
    assert.deepEqual(
      { submitted, completed, abandoned, inFlight },
      { submitted: FRAMES, completed: FRAMES, abandoned: 0, inFlight: 0 },
    );
    assert.deepEqual(errors, []);
  });

  it('goes on without root’s privileges', async () => {
    for (const status of proxy.threads()) assert.match(status, WITHOUT_PRIVILEGES);
    await run(new Flow(near, far, new NumberedFrames(60, 'a', 'b'), 1000));
  });

  onKernel(() =>
    it('lets no frame through its own process', async () => {
      const calls = (): number =>
        Number(/^syscr: (\d+)$/m.exec(readFileSync(`/proc/${proxy.pid}/io`, 'utf8'))![1]) +
        Number(/^syscw: (\d+)$/m.exec(readFileSync(`/proc/${proxy.pid}/io`, 'utf8'))![1]);
      const before = calls();
      await run(new Flow(near, far, new NumberedFrames(60, 'a', 'b'), 10_000));
      assert.ok(calls() - before < 100, `${calls() - before} reads and writes for 10,000 frames`);
    }),
  );

  it('serves one program at a time, and the next as the first', async () => {
    await assert.rejects(VhostUserClient.connect({ path: socket }));
    await near.close();
    for (let turn = 0; turn < 3; turn++) {
      await until('the proxy is free', () => (proxy.said.match(/disconnected/g) ?? []).length > turn);
      const vhost = await VhostUserClient.connect({ path: socket });
      near = await Nic.open({ vhost, backend: remoteBackend() });
      await run(
        new Flow(near, far, new NumberedFrames(60, 'a', 'b'), 1000),
        new Flow(far, near, new NumberedFrames(60, 'b', 'a'), 1000),
      );
      if (turn < 2) await near.close();
    }
  });

  it('goes on where it was when the proxy is killed and started again', async () => {
    const frames = new NumberedFrames(60, 'a', 'b');
    await run(new Flow(near, far, frames, 1000));
    await proxy.end('SIGKILL');
    await until('the Nic hears of it', () => errors.length > 0);
    // Posted while nobody serves the ring.
    await startProxy('--user', String(NOBODY), '--group', String(NOBODY));
    await within('the Nic is attached again', near.attach());
    await run(new Flow(near, far, frames, 1000), new Flow(far, near, new NumberedFrames(60, 'b', 'a'), 1000));
    // Each flow has seen every one of its frames arrive; and the device has told of each that was sent.
    const { submitted, completed, abandoned, inFlight } = near.stats().transmit;
    assert.deepEqual(
      { submitted, completed, abandoned, inFlight },
      { submitted: 2000, completed: 2000, abandoned: 0, inFlight: 0 },
    );
  });

  it('carries the frames of each pair by a device and a queue of the tap of its own', async () => {
    const args = [
      '--socket',
      `${socket}-2`,
      '--tap',
      'tap-q',
      '--queue-pairs',
      '2',
      '--netns',
      namespace.name,
    ];
    const second = await ServerProcess.proxy(
      ...[...args, '--device', device, '--user', String(NOBODY), '--group', String(NOBODY)],
    );
    namespace.ip('link', 'set', 'tap-q', 'master', 'cable');
    const client = await VhostUserClient.connect({ path: `${socket}-2`, queuePairs: 2 });
    const nic = await Nic.open({
      vhost: client.pairs,
      queuePairs: 2,
      backend: remoteBackend({ queues: 2 }),
    });
    try {
      const flows = (network: readonly [number, number, number]): Uint8Array[] =>
        Array.from({ length: FLOWS }, (_, flow) =>
          new EchoFlow(network, flow + 10, '02:00:00:00:00:0a', 'ff:ff:ff:ff:ff:ff').request(flow),
        );
      /** Sends a frame of each, and waits until all have come to the other side. */
      const carry = async (from: Nic | NicPair, to: Nic, frames: readonly Uint8Array[]): Promise<void> => {
        const seen = new Set<number>();
        const all = (async () => {
          for await (const batch of to.receive()) {
            for (const frame of batch) if (frame[12] === 8 && frame[23] === 1) seen.add(frame[29]!);
            if (seen.size === FLOWS) return;
          }
        })();
        const { completed } = await from.submit(frames).completed;
        assert.equal(completed, FLOWS);
        await within('every flow has arrived', all);
      };
      const [one, other] = nic.pairs as [NicPair, NicPair];
      for (const pair of [one, other]) await carry(pair, far, flows([192, 0, 2]));
      /** Frames that came on each pair; the tap spreads flows that it has not learned over the queues that are in. */
      const arrivals = async (): Promise<number[]> => {
        const frames = (): number[] => nic.pairs.map((pair) => pair.stats().receive.frames);
        const before = frames();
        await carry(far, nic, flows([198, 51, 100]));
        return frames().map((count, i) => count - before[i]!);
      };
      assert.ok((await arrivals()).every((count) => count > 0));
      await other.disable();
      assert.deepEqual((await arrivals())[1], 0);
      await other.enable();
      assert.ok((await arrivals()).every((count) => count > 0));
    } finally {
      await nic.close();
      await second.end();
    }
  });

  it('serves a macvtap', async () => {
    namespace.ip('link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far');
    for (const name of ['near', 'far']) namespace.ip('link', 'set', name, 'up');
    namespace.ip(
      ...['link', 'add', 'link', 'near', 'name', 'macvtap0', 'address', '02:00:00:00:00:0a'],
      ...['type', 'macvtap', 'mode', 'bridge'],
    );
    const here = ['--netns', namespace.name, '--device', device];
    const second = await ServerProcess.proxy('--socket', `${socket}-2`, '--macvtap', 'macvtap0', ...here);
    const nics: Nic[] = [];
    try {
      const vhost = await VhostUserClient.connect({ path: `${socket}-2` });
      nics.push(await Nic.open({ vhost, backend: remoteBackend() }));
      nics.push(await Nic.open({ ...testDevice, packet: { name: 'far', netns: namespace.name } }));
      const [over, wire] = nics as [Nic, Nic];
      // What does not fit in a packet socket's buffer is dropped.
      await run(
        new Flow(over, wire, new NumberedFrames(60, 'a', 'b'), 1000, 64),
        new Flow(wire, over, new NumberedFrames(60, 'b', 'a'), 1000, 64),
      );
    } finally {
      for (const nic of nics) await nic.close();
      await second.end();
    }
  });

  it('ends by SIGTERM with status 0, and takes its socket and its tap with it', async () => {
    assert.equal(await proxy.end(), 0);
    assert.doesNotMatch(namespace.ip('link'), /tap-a/);
    await assert.rejects(VhostUserClient.connect({ path: socket }), { code: 'ENOENT' });
  });
});
