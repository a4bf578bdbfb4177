import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { ETH_ALEN } from '../../lib/abi/if-ether.js';
import type { Nic } from '../../lib/index.js';
import { CountingFilter } from './counting-filter.js';
import { Flow, run } from './device-flow.js';
import { Namespace } from './device-namespace.js';
import { ADDRESS, NumberedFrames } from './numbered-frames.js';
import { framesOf } from './pcap-file.js';
import { ServerProcess } from './server-process.js';
import { temporaryFolder } from './temporary-folder.js';
import { FRAMES, Testpmd, WINDOW } from './testpmd.js';
import { until } from './until.js';

/** Frames that wait in the tap until the device takes them; more would be dropped. */
const TAP_QUEUE = 20_000;
/** Frames submitted at once. */
const BATCH = 500;

/** Bytes of a frame that testpmd makes. */
const GENERATED = 62;

/** The one frame that testpmd sends again and again in its mode txonly: an UDP datagram of zeros. */
function generated(from: Uint8Array, to: Uint8Array): Uint8Array {
  // 48 bytes of IPv4, 198.18.0.1 to 198.18.0.2, and a checksum; port 9 to port 9, 28 bytes, none.
  const headers = '0800 4500003000000000 4011ee95 c6120001c6120002 00090009001c0000';
  const frame = new Uint8Array(GENERATED);
  frame.set(to);
  frame.set(from, ETH_ALEN);
  frame.set(Buffer.from(headers.replaceAll(' ', ''), 'hex'), 2 * ETH_ALEN);
  return frame;
}

function text(address: Uint8Array): string {
  return Buffer.from(address)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
}

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

    const port = (): string => `virtio_user0,path=${socket},queues=1,queue_size=256,mac=${text(ADDRESS.a)}`;
    const counter = (name: string): number =>
      Number(namespace.run('cat', `/sys/class/net/tap-a/statistics/${name}`));

    it(`transmits ${FRAMES} frames and more, each of which comes out of the tap, every byte right`, async () => {
      const right = new CountingFilter(namespace, generated(ADDRESS.a, ADDRESS.b), 'tap-a', 'tap-b');
      const to = `--eth-peer=0,${text(ADDRESS.b)}`;
      testpmd = await Testpmd.start('transmit', [port()], 'txonly', `--txpkts=${GENERATED}`, to);
      await until('they are out', () => counter('rx_packets') >= FRAMES, 600_000);
      const { transmitted } = await testpmd.stop();
      assert.equal(counter('rx_packets'), transmitted);
      assert.equal(right.count, transmitted);
      assert.equal(counter('rx_dropped') + counter('rx_errors'), 0);
    });

    it(`receives ${FRAMES} frames, every byte of them, in order`, async () => {
      namespace.bridge('cable', 'tap-a', 'tap-b');
      const before = counter('tx_packets');
      const file = join(folder.path, 'received');
      testpmd = await Testpmd.start('receive', [port(), `net_pcap0,tx_pcap=${file}`], 'io');
      const frames = new NumberedFrames(60, 'b', 'a');
      for (let sent = 0; sent < FRAMES; ) {
        for (let burst = 0; burst < TAP_QUEUE / 2 && sent < FRAMES; burst += BATCH) {
          await far.submit(Array.from({ length: BATCH }, (_, i) => frames.frame(sent + i))).accepted;
          sent += BATCH;
        }
        await far.drain();
        await until('the device has taken them', () => counter('tx_packets') - before >= sent);
      }
      const { received, transmitted } = await testpmd.stop();
      assert.deepEqual({ received, transmitted }, { received: FRAMES, transmitted: FRAMES });
      assert.equal(counter('tx_dropped'), 0);
      let number = 0;
      for (const frame of framesOf(file)) frames.check(number++, frame);
      assert.equal(number, FRAMES);
    });

    it(`swaps ${FRAMES} frames, every byte of which comes back`, async () => {
      namespace.bridge('cable', 'tap-a', 'tap-b');
      testpmd = await Testpmd.start('swap', [port()], 'macswap');
      const there = new NumberedFrames(60, 'b', 'a');
      const back = new NumberedFrames(60, 'a', 'b');
      await run(new Flow(far, far, there, FRAMES, WINDOW, back));
      const { received, transmitted } = await testpmd.stop();
      assert.deepEqual({ received, transmitted }, { received: FRAMES, transmitted: FRAMES });
    });

    it('leaves without a word, and the next is served as the first', async () => {
      for (const turn of [1, 2]) {
        testpmd = await Testpmd.start(`turn-${turn}`, [port()], 'txonly', '--txpkts=60');
        const before = counter('rx_packets');
        await until('frames are out', () => counter('rx_packets') > before + 1000);
        await testpmd.kill();
        await until('the proxy has noticed', () => (proxy.said.match(/disconnected/g) ?? []).length === turn);
      }
    });
  });
}
