import assert from 'node:assert/strict';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Nic, remoteBackend, VhostUserClient } from '../../../lib/index.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { ServerProcess } from '../../support/server-process.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { once, overWorker } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';

const FRAMES = 5000;
const FILTER = fileURLToPath(new URL('../../../../examples/vhost-user/filter.mjs', import.meta.url));
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
