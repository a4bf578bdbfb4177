import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  DriverRing,
  GuestMemory,
  hostKernel,
  Nic,
  remoteBackend,
  VhostUserClient,
} from '../../../lib/index.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { ServerProcess } from '../../support/server-process.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { once, overWorker } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';

const FRAMES = 5000;
const example = (name: string): string =>
  fileURLToPath(new URL(`../../../../examples/vhost-user/${name}.mjs`, import.meta.url));
const FILTER = example('filter');
const RELAY = example('relay');
const program = (name: string): string => fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url));

describe('the proxy with a program', function () {
  this.timeout(300_000);
  const there = new NumberedFrames(60, 'a', 'b');
  const back = new NumberedFrames(60, 'b', 'a');
  let folder: ReturnType<typeof temporaryFolder>;
  let socket: string;
  let namespace: Namespace;
  let proxy: ServerProcess | undefined;
  const nics: Nic[] = [];

  beforeEach(() => {
    folder = temporaryFolder();
    socket = join(folder.path, 'socket');
    namespace = Namespace.add();
  });
  afterEach(async () => {
    for (const nic of nics.splice(0)) await nic.close();
    await proxy?.end();
    proxy = undefined;
    await namespace.remove();
    folder.remove();
  });

  async function start(file: string, ...more: string[]): Promise<Nic> {
    proxy = await ServerProcess.proxy('--socket', socket, '--program', file, ...more);
    const vhost = await VhostUserClient.connect({ path: socket });
    const near = await Nic.open({ vhost, backend: remoteBackend() });
    nics.push(near);
    return near;
  }

  /** With a tap as well, whose other end is the second. */
  async function startBetween(file: string): Promise<[near: Nic, far: Nic]> {
    const far = await namespace.nic('tap-b');
    nics.push(far);
    const device = overWorker ? 'worker' : '/dev/vhost-net';
    const near = await start(file, '--tap', 'tap-a', '--netns', namespace.name, '--device', device);
    namespace.bridge('cable', 'tap-a', 'tap-b');
    return [near, far];
  }

  /** The next so many frames that a Nic receives. */
  async function take(nic: Nic, count: number): Promise<Buffer[]> {
    const taken: Buffer[] = [];
    for await (const batch of nic.receive()) {
      taken.push(...Array.from(batch, (frame) => Buffer.from(frame)));
      if (taken.length >= count) break;
    }
    return taken;
  }

  once(() =>
    it('answers every frame by itself, without an interface', async () => {
      const near = await start(program('echo'));
      await run(new Flow(near, near, there, FRAMES, 128, back));
      const { submitted, completed } = near.stats().transmit;
      assert.deepEqual([submitted, completed], [FRAMES, FRAMES]);
    }),
  );

  it('lets pass both ways what it likes', async () => {
    const [near, far] = await startBetween(FILTER);
    await run(new Flow(near, far, there, FRAMES, 128), new Flow(far, near, back, FRAMES, 128));
    const ipv6 = (frames: NumberedFrames): Uint8Array => {
      const frame = frames.frame(0);
      frame.set([0x86, 0xdd], 12);
      return frame;
    };
    for (const [from, to, frames] of [
      [near, far, there],
      [far, near, back],
    ] as const) {
      const taken = take(to, 2);
      const submission = from.submit([frames.frame(1), ipv6(frames), frames.frame(2)]);
      assert.deepEqual(await submission.completed, { completed: 3, abandoned: 0, withdrawn: 0 });
      const got = await within('what may pass has passed', taken);
      assert.deepEqual(got, [Buffer.from(frames.frame(1)), Buffer.from(frames.frame(2))]);
    }
  });

  once(() =>
    it('loses the frames at which it fails, says so, and goes on', async () => {
      const [near, far] = await startBetween(program('stumbling'));
      for (const [from, to, frames, said] of [
        [near, far, there, 'the program failed: Error: an odd frame to send'],
        [far, near, back, 'the program failed: Error: an odd frame received'],
      ] as const) {
        const [odd, even] = [frames.frame(0), frames.frame(0)];
        odd[59]! |= 1;
        even[59]! &= 0xfe;
        const taken = take(to, 2);
        await from.submit([even, odd, even]).completed;
        assert.deepEqual(await within('the others have passed', taken), [
          Buffer.from(even),
          Buffer.from(even),
        ]);
        await until('it has said so', () => proxy!.said.includes(said));
      }
    }),
  );

  once(() =>
    it('holds frames back, and completes them when it likes: a shaper', async () => {
      const shaper = join(folder.path, 'shaper.mjs');
      // Of each two, the second goes first.
      writeFileSync(
        shaper,
        `let early;
        export default ({ deliver }) => ({ transmit: (frame) => new Promise((done) => {
          const pass = () => { deliver(frame); done(); };
          if (early === undefined) early = pass;
          else { pass(); setTimeout(early, 20); early = undefined; }
        }) });`,
      );
      const near = await start(shaper);
      const taken = take(near, 4);
      const frames = [0, 1, 2, 3].map((n) => there.frame(n));
      assert.equal((await near.submit(frames).completed).completed, 4);
      const got = await within('all come back', taken);
      assert.deepEqual(
        got,
        [1, 3, 0, 2].map((n) => Buffer.from(frames[n]!)),
      );
      assert.ok(near.stats().transmit.outOfOrder > 0);
    }),
  );

  it('sends frames to two places: a mirror', async () => {
    const mirror = join(folder.path, 'mirror.mjs');
    writeFileSync(
      mirror,
      `export default ({ deliver, send }) => ({
        transmit: (frame) => { deliver(frame); return send(frame); },
      });`,
    );
    const [near, far] = await startBetween(mirror);
    const taken = [near, far].map((nic) => take(nic, 64));
    const frames = Array.from({ length: 64 }, (_, n) => there.frame(n));
    assert.equal((await near.submit(frames).completed).completed, 64);
    for (const got of await within('both have them', Promise.all(taken)))
      assert.deepEqual(
        got,
        frames.map((frame) => Buffer.from(frame)),
      );
  });

  once(() =>
    it('gives a front-end the device of another process', async () => {
      const [first, second] = [join(folder.path, 'remote'), socket];
      const remote = await ServerProcess.proxy('--socket', first, '--program', program('echo'));
      process.env.REMOTE = first;
      try {
        proxy = await ServerProcess.proxy('--socket', second, '--program', RELAY);
        const near = await Nic.open({
          vhost: await VhostUserClient.connect({ path: second }),
          backend: remoteBackend(),
        });
        nics.push(near);
        await run(new Flow(near, near, there, FRAMES, 128, back));
        await near.close();
      } finally {
        delete process.env.REMOTE;
        await proxy?.end();
        await remote.end();
      }
    }),
  );

  once(() =>
    it('returns every head once though it is killed with some in flight, amid others that it returned', async () => {
      // Completes frames that begin with an odd byte at once, and the others never.
      const first = join(folder.path, 'first.mjs');
      writeFileSync(
        first,
        'export default () => ({ transmit: (frame) => (frame[0] % 2 ? undefined : new Promise(() => {})) });',
      );
      // Completes four at once, the last first; and tells what it got.
      const second = join(folder.path, 'second.mjs');
      writeFileSync(
        second,
        `const held = [];
        export default () => ({ transmit: (frame) => new Promise((done) => {
          console.error('got ' + frame[0]);
          if (held.push(done) === 4) for (const each of held.splice(0).reverse()) each();
        }) });`,
      );
      const { eventfd, descriptor } = hostKernel();
      const memory = new GuestMemory(hostKernel());
      const region = memory.addRegion({ size: 0x1_0000 });
      const ring = new DriverRing({ region, offset: 0, size: 16 });
      const [kick, call] = [eventfd.create(), eventfd.create()];
      let frames = 0;
      const post = (count: number): number[] => {
        const heads = Array.from({ length: count }, () => {
          const at = 0x8000 + 64 * frames;
          region.bytes[at + 12] = frames++;
          return ring.post(0, region.guestPhysicalAddress + at, 60, false);
        });
        if (ring.publish()) eventfd.signal(kick);
        return heads;
      };
      const returned: number[] = [];
      const reap = (): number => returned.push(...ring.heads.subarray(0, ring.reap()));

      proxy = await ServerProcess.proxy('--socket', socket, '--program', first);
      const vhost = await VhostUserClient.connect({ path: socket });
      try {
        await vhost.setOwner();
        await vhost.setFeatures(1n << 32n);
        await vhost.setMemTable(memory);
        vhost.setVringNum(1, ring.size);
        await vhost.setVringAddr(1, { ...ring.addresses, flags: 0 });
        await vhost.setVringKick(1, kick);
        await vhost.setVringCall(1, call);
        await vhost.setBackend(1, 0);
        const heads = post(8);
        await until('those that are completed at once are', () => reap() === 4);
        assert.deepEqual(
          returned,
          heads.filter((_, i) => i % 2 === 1),
        );

        await proxy.end('SIGKILL');
        let base: number | undefined;
        await until('the client has heard of it', () => {
          try {
            base = vhost.getVringBase(1);
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'ERR_VHOST_IN_USE');
          }
          return base !== undefined;
        });
        assert.equal(base, 8, 'behind all that the device had taken, returned or not');
        heads.push(...post(4));
        proxy = await ServerProcess.proxy('--socket', socket, '--program', second);
        await vhost.setBackend(1, 0);
        await until('all are returned', () => reap() >= 12 || ring.corruption !== undefined);
        assert.equal(ring.corruption, undefined);
        assert.deepEqual(returned.toSorted(), heads.toSorted());
        assert.equal(ring.inFlight, 0);
        // In the order in which they were taken first, and those that were posted since behind them.
        assert.deepEqual(proxy.said.match(/(?<=got )\d+/g)!.map(Number), [0, 2, 4, 6, 8, 9, 10, 11]);
      } finally {
        vhost.close();
        for (const fd of [kick, call]) descriptor.close(fd);
        memory.close();
      }
    }),
  );

  it('ends with its interface, and says why', async () => {
    const [near] = await startBetween(FILTER);
    const errors: Error[] = [];
    near.on('error', (error) => errors.push(error));
    namespace.ip('link', 'del', 'tap-a');
    await until('it has ended', () => proxy!.status !== null);
    assert.equal(proxy!.status, 1);
    assert.match(proxy!.said, /the interface tap-a is gone/);
    await until('its front-end has heard of it, of both queues', () => errors.length === 2);
  });
});
