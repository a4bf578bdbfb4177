import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { hostKernel, Nic, remoteBackend, VhostUserClient } from '../../../lib/index.js';
import { UnixListener } from '../../../lib/socket/unix-listener.js';
import { replyFraming } from '../../../lib/vhost/user/protocol.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { long } from '../../support/random.js';
import { ServerProcess } from '../../support/server-process.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { Testpmd } from '../../support/testpmd.js';
import { until, within } from '../../support/until.js';

const FRAMES = long ? 1_000_000 : 100_000;

/** Frames under way at once: testpmd drops what its transmit ring of 256 has no room for. */
const WINDOW = 128;

/** Frames that wait in the tap until the device takes them; more would be dropped. */
const TAP_QUEUE = 20_000;

describe('DPDK', function () {
  this.timeout(900_000);
  let folder: ReturnType<typeof temporaryFolder>;
  let socket: string;
  let testpmd: Testpmd | undefined;
  beforeEach(() => {
    folder = temporaryFolder();
    chmodSync(folder.path, 0o711);
    socket = join(folder.path, 'socket');
  });
  afterEach(async () => {
    await testpmd?.kill();
    testpmd = undefined;
    folder.remove();
  });

  describe('as front-end (virtio-user) of the proxy, over the kernel’s device', () => {
    let namespace: Namespace;
    let proxy: ServerProcess;
    let far: Nic;
    beforeEach(async () => {
      namespace = Namespace.add();
      far = await namespace.nic('tap-b');
      proxy = await ServerProcess.proxy(
        ...['--socket', socket, '--tap', 'tap-a', '--netns', namespace.name],
        ...['--user', '65534', '--group', '65534', '--socket-mode', '666'],
      );
      namespace.ip('link', 'set', 'tap-a', 'txqueuelen', String(TAP_QUEUE));
    });
    afterEach(async () => {
      await testpmd?.kill();
      await proxy.end();
      await namespace.remove();
    });

    const device = (): string => `virtio_user0,path=${socket},queues=1,queue_size=256`;
    const counter = (name: string): number =>
      Number(namespace.run('cat', `/sys/class/net/tap-a/statistics/${name}`));

    it(`transmits ${FRAMES} frames and more, each of which comes out of the tap`, async () => {
      testpmd = await Testpmd.start('transmit', device(), 'txonly', '--txpkts=60');
      await until('they are out', () => counter('rx_packets') >= FRAMES);
      const { transmitted } = await testpmd.stop();
      assert.equal(counter('rx_packets'), transmitted);
      assert.equal(counter('rx_dropped') + counter('rx_errors'), 0);
    });

    it(`receives ${FRAMES} frames, every one`, async () => {
      namespace.bridge('cable', 'tap-a', 'tap-b');
      const before = counter('tx_packets');
      testpmd = await Testpmd.start('receive', device(), 'rxonly');
      const frame = new NumberedFrames(60, 'b', 'a').frame(0);
      const batch = Array(500).fill(frame);
      for (let sent = 0; sent < FRAMES; ) {
        for (let burst = 0; burst < TAP_QUEUE / 2 && sent < FRAMES; burst += batch.length) {
          await far.submit(batch).accepted;
          sent += batch.length;
        }
        await far.drain();
        await until('the device has taken them', () => counter('tx_packets') - before >= sent);
      }
      const { received } = await testpmd.stop();
      assert.equal(received, FRAMES);
      assert.equal(counter('tx_dropped'), 0);
    });

    it(`swaps ${FRAMES} frames, every byte of which comes back`, async () => {
      namespace.bridge('cable', 'tap-a', 'tap-b');
      testpmd = await Testpmd.start('swap', device(), 'macswap');
      const there = new NumberedFrames(60, 'b', 'a');
      const back = new NumberedFrames(60, 'a', 'b');
      await run(new Flow(far, far, there, FRAMES, WINDOW, back));
      const { received, transmitted } = await testpmd.stop();
      assert.deepEqual({ received, transmitted }, { received: FRAMES, transmitted: FRAMES });
    });

    it('leaves without a word, and the next is served as the first', async () => {
      for (const turn of [1, 2]) {
        testpmd = await Testpmd.start(`turn-${turn}`, device(), 'txonly', '--txpkts=60');
        const before = counter('rx_packets');
        await until('frames are out', () => counter('rx_packets') > before + 1000);
        await testpmd.kill();
        await until('the proxy has noticed', () => (proxy.said.match(/disconnected/g) ?? []).length === turn);
      }
    });
  });

  describe('as back-end (net_vhost) of a Nic over the client', () => {
    let nic: Nic | undefined;
    afterEach(async () => {
      await nic?.close();
      nic = undefined;
    });

    async function sendAndGetBack(vhost: VhostUserClient): Promise<void> {
      nic = await Nic.open({ vhost, backend: remoteBackend() });
      await run(
        new Flow(
          nic,
          nic,
          new NumberedFrames(60, 'a', 'b'),
          FRAMES,
          WINDOW,
          new NumberedFrames(60, 'b', 'a'),
        ),
      );
      const { submitted, completed, abandoned } = nic.stats().transmit;
      assert.deepEqual(
        { submitted, completed, abandoned },
        { submitted: FRAMES, completed: FRAMES, abandoned: 0 },
      );
      await nic.close();
      const { received, transmitted } = await testpmd!.stop();
      assert.deepEqual({ received, transmitted }, { received: FRAMES, transmitted: FRAMES });
    }

    it(`that listens swaps ${FRAMES} frames`, async () => {
      testpmd = await Testpmd.start('listens', `net_vhost0,iface=${socket},queues=1`, 'macswap');
      await sendAndGetBack(await VhostUserClient.connect({ path: socket }));
    });

    it(`that connects swaps ${FRAMES} frames`, async () => {
      const kernel = hostKernel();
      const listener = UnixListener.listen(kernel, socket, replyFraming);
      const accepted = listener.accept();
      testpmd = await Testpmd.start('connects', `net_vhost0,iface=${socket},queues=1,client=1`, 'macswap');
      const connection = (await within('testpmd connects', accepted))!;
      listener.close();
      await sendAndGetBack(await VhostUserClient.over(connection, socket, kernel));
    });
  });
});
