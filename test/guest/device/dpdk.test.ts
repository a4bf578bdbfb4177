import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { hostKernel, Nic, remoteBackend, VhostUserClient } from '../../../lib/index.js';
import { UnixListener } from '../../../lib/socket/unix-listener.js';
import { replyFraming } from '../../../lib/vhost/user/protocol.js';
import { Flow, run } from '../../support/device-flow.js';
import { testDpdkFrontEnd } from '../../support/dpdk-front-end.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { FRAMES, Testpmd, WINDOW } from '../../support/testpmd.js';
import { within } from '../../support/until.js';

testDpdkFrontEnd('/dev/vhost-net');

describe('DPDK as back-end (net_vhost) of a Nic over the client', function () {
  this.timeout(900_000);
  let folder: ReturnType<typeof temporaryFolder>;
  let socket: string;
  let testpmd: Testpmd | undefined;
  let nic: Nic | undefined;
  beforeEach(() => {
    folder = temporaryFolder();
    chmodSync(folder.path, 0o711);
    socket = join(folder.path, 'socket');
  });
  afterEach(async () => {
    await nic?.close();
    nic = undefined;
    await testpmd?.kill();
    testpmd = undefined;
    folder.remove();
  });

  async function sendAndGetBack(vhost: VhostUserClient): Promise<void> {
    nic = await Nic.open({ vhost, backend: remoteBackend() });
    await run(
      new Flow(nic, nic, new NumberedFrames(60, 'a', 'b'), FRAMES, WINDOW, new NumberedFrames(60, 'b', 'a')),
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
    testpmd = await Testpmd.start('listens', [`net_vhost0,iface=${socket},queues=1`], 'macswap');
    await sendAndGetBack(await VhostUserClient.connect({ path: socket }));
  });

  it(`that connects swaps ${FRAMES} frames`, async () => {
    const kernel = hostKernel();
    const listener = UnixListener.listen(kernel, socket, replyFraming);
    const accepted = listener.accept();
    testpmd = await Testpmd.start('connects', [`net_vhost0,iface=${socket},queues=1,client=1`], 'macswap');
    const connection = (await within('testpmd connects', accepted))!;
    listener.close();
    await sendAndGetBack(await VhostUserClient.over(connection, socket, kernel));
  });
});
