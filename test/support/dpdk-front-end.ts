import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import type { Nic } from '../../lib/index.js';
import { Flow, run } from './device-flow.js';
import { Namespace } from './device-namespace.js';
import { NumberedFrames } from './numbered-frames.js';
import { ServerProcess } from './server-process.js';
import { temporaryFolder } from './temporary-folder.js';
import { FRAMES, Testpmd, WINDOW } from './testpmd.js';
import { until } from './until.js';

/** Frames that wait in the tap until the device takes them; more would be dropped. */
const TAP_QUEUE = 20_000;

/** Defines tests of dpdk-testpmd as the front-end of `vhost-net proxy --device …`. */
export function testDpdkFrontEnd(device: '/dev/vhost-net' | 'worker'): void {
  describe(`DPDK as front-end (virtio-user) of the proxy, over ${device}`, function () {
    this.timeout(900_000);
    let folder: ReturnType<typeof temporaryFolder>;
    let socket: string;
    let testpmd: Testpmd | undefined;
    let namespace: Namespace;
    let proxy: ServerProcess;
    let far: Nic;
    beforeEach(async () => {
      folder = temporaryFolder();
      chmodSync(folder.path, 0o711);
      socket = join(folder.path, 'socket');
      testpmd = undefined;
      namespace = Namespace.add();
      far = await namespace.nic('tap-b');
      proxy = await ServerProcess.proxy(
        ...['--socket', socket, '--tap', 'tap-a', '--netns', namespace.name, '--device', device],
        ...['--user', '65534', '--group', '65534', '--socket-mode', '666'],
      );
      namespace.ip('link', 'set', 'tap-a', 'txqueuelen', String(TAP_QUEUE));
    });
    afterEach(async () => {
      await testpmd?.kill();
      await proxy.end();
      await namespace.remove();
      folder.remove();
    });

    const port = (): string => `virtio_user0,path=${socket},queues=1,queue_size=256`;
    const counter = (name: string): number =>
      Number(namespace.run('cat', `/sys/class/net/tap-a/statistics/${name}`));

    it(`transmits ${FRAMES} frames and more, each of which comes out of the tap`, async () => {
      testpmd = await Testpmd.start('transmit', port(), 'txonly', '--txpkts=60');
      await until('they are out', () => counter('rx_packets') >= FRAMES);
      const { transmitted } = await testpmd.stop();
      assert.equal(counter('rx_packets'), transmitted);
      assert.equal(counter('rx_dropped') + counter('rx_errors'), 0);
    });

    it(`receives ${FRAMES} frames, every one`, async () => {
      namespace.bridge('cable', 'tap-a', 'tap-b');
      const before = counter('tx_packets');
      testpmd = await Testpmd.start('receive', port(), 'rxonly');
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
      testpmd = await Testpmd.start('swap', port(), 'macswap');
      const there = new NumberedFrames(60, 'b', 'a');
      const back = new NumberedFrames(60, 'a', 'b');
      await run(new Flow(far, far, there, FRAMES, WINDOW, back));
      const { received, transmitted } = await testpmd.stop();
      assert.deepEqual({ received, transmitted }, { received: FRAMES, transmitted: FRAMES });
    });

    it('leaves without a word, and the next is served as the first', async () => {
      for (const turn of [1, 2]) {
        testpmd = await Testpmd.start(`turn-${turn}`, port(), 'txonly', '--txpkts=60');
        const before = counter('rx_packets');
        await until('frames are out', () => counter('rx_packets') > before + 1000);
        await testpmd.kill();
        await until('the proxy has noticed', () => (proxy.said.match(/disconnected/g) ?? []).length === turn);
      }
    });
  });
}
