import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Guest } from './guest.js';
import { ADDRESS, GuestNetwork } from './guest-network.js';
import { ServerProcess } from './server-process.js';
import { temporaryFolder } from './temporary-folder.js';
import { until } from './until.js';

const TAP = 'guest-a';

/**
 * What must hold of a stock kernel in QEMU whose virtio-net driver has the proxy over a device at the other end. The guest is
 * the same one throughout, as a boot takes long; `bytes` is the size of every transfer.
 */
export function realGuest(device: '/dev/vhost-net' | 'worker', bytes: number): void {
  let folder: ReturnType<typeof temporaryFolder>;
  let network: GuestNetwork;
  let server: ServerProcess;
  let guest: Guest;
  before(async () => {
    folder = temporaryFolder();
    network = await GuestNetwork.make([TAP], bytes);
    server = await start();
    guest = new Guest({ socket: socket(), console: join(folder.path, 'console') });
    await guest.ready();
    await network.join(guest);
  });
  after(async () => {
    await guest?.kill();
    await server?.end();
    await network?.remove();
    folder.remove();
  });
  afterEach(() => assert.doesNotMatch(server.said, /stands still|refused|turned/));

  const socket = (): string => join(folder.path, 'socket');
  const start = (): Promise<ServerProcess> =>
    ServerProcess.proxy(
      ...['--socket', socket(), '--tap', TAP, '--netns', network.namespace.name, '--device', device],
    );

  /** The guest gets a file; resolves once it has it. */
  async function download(): Promise<void> {
    await guest.run(`nc ${ADDRESS} 1000 -e dd of=/tmp/file bs=64k`);
    const sent = await network.peer.said(/sent (\w+)\n/);
    assert.match(await guest.run('sha256sum /tmp/file'), new RegExp(`^${sent} `));
  }

  /** The guest sends its file. */
  async function upload(): Promise<void> {
    const has = /^\w+/.exec(await guest.run('sha256sum /tmp/file'))![0];
    // In larger pieces than its own 1024 bytes, which an emulated machine sends a frame each.
    await guest.run(`nc ${ADDRESS} 1001 -e dd if=/tmp/file bs=64k`);
    assert.equal(await network.peer.said(/taken (.*)\n/), `${bytes} ${has}`);
  }

  /** Kills the server once a quarter is through, and starts another; the rest of the transfer is to come. */
  async function killAmid(transfer: Promise<void>): Promise<void> {
    await Promise.race([network.peer.said(/quarter/), transfer]);
    await server.end('SIGKILL');
    server = await start();
    await until('QEMU has connected again', () => /connected/.test(server.said));
    network.peer.goOn();
    await transfer;
  }

  it('pings', async () => {
    const said = await guest.run(`ping -c 20 -i 0.1 ${ADDRESS}`);
    assert.match(said, /20 packets transmitted, 20 packets received, 0% packet loss/);
  });

  it(`receives ${bytes} bytes by TCP, every one right`, async () => {
    network.peer.goOn();
    await download();
  });

  it(`sends ${bytes} bytes by TCP, every one right`, async () => {
    network.peer.goOn();
    await upload();
  });

  it('goes on receiving when the server is killed amid a transfer and started again', async () => {
    await killAmid(download());
  });

  it('goes on sending when the server is killed amid a transfer and started again', async () => {
    await killAmid(upload());
  });

  it('reboots, and is served again', async () => {
    await guest.reboot();
    await network.join(guest);
    network.peer.goOn();
    await download();
    assert.doesNotMatch(server.said, /disconnected/);
  });
}
