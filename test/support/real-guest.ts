import assert from 'node:assert/strict';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Guest, QEMU } from './guest.js';
import { ADDRESS, GuestNetwork } from './guest-network.js';
import { ServerProcess } from './server-process.js';
import { temporaryFolder } from './temporary-folder.js';
import { until } from './until.js';

/** One for each of the QEMUs that the guest lives in. */
const TAPS = ['guest-a', 'guest-b'] as const;
type Tap = (typeof TAPS)[number];

/** Whom the server goes on as. */
const SERVER = 65_534;

/** For the guest's shell: how many bytes have come by TCP that nobody has read. */
const UNREAD = `$(($(awk '$4 == "01" { split($5, queued, ":"); print "0x" queued[2] }' /proc/net/tcp)))`;

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
    // Others may pass through it.
    chmodSync(folder.path, 0o711);
    network = await GuestNetwork.make(TAPS, bytes);
    server = await start('guest-a');
    guest = new Guest({ socket: socket('guest-a'), folder: join(folder.path, 'qemu-a') });
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

  const socket = (tap: Tap): string => join(folder.path, tap);
  const start = (tap: Tap): Promise<ServerProcess> =>
    ServerProcess.proxy(
      ...['--socket', socket(tap), '--tap', tap, '--netns', network.namespace.name, '--device', device],
      ...['--socket-owner', 'root', '--socket-group', String(QEMU.group), '--socket-mode', '660'],
      ...['--user', String(SERVER), '--group', String(SERVER)],
    );

  /** The guest gets a file; resolves once it has it. */
  async function download(): Promise<void> {
    await guest.run(`nc ${ADDRESS} 1000 -e dd of=/tmp/file bs=64k`);
    await holds(await network.peer.said(/sent (\w+)\n/));
  }

  /** The guest's file is what was sent. */
  async function holds(sent: string): Promise<void> {
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
    server = await start('guest-a');
    await until('QEMU has connected again', () => /connected/.test(server.said));
    network.peer.goOn();
    await transfer;
  }

  it('has no privilege, nor has its server', () => {
    const { uid, gid, mode } = statSync(socket('guest-a'));
    assert.deepEqual({ uid, gid, mode: mode & 0o777 }, { uid: 0, gid: QEMU.group, mode: 0o660 });
    assert.deepEqual(rights(guest.pid), {
      user: QEMU.user,
      group: QEMU.group,
      groups: '',
      capabilities: '0',
    });
    assert.deepEqual(rights(server.pid), { user: SERVER, group: SERVER, groups: '', capabilities: '0' });
  });

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

  it('moves to another QEMU amid a transfer, with all that the device wrote meanwhile', async () => {
    const before = { guest, server };
    server = await start('guest-b');
    guest = new Guest({ socket: socket('guest-b'), folder: join(folder.path, 'qemu-b'), awaits: true });
    try {
      // It writes to its memory without end, so that it does not arrive before it is to.
      await before.guest.run('while :; do date >/tmp/date; done & writer=$!');
      await before.guest.startMoving(guest);
      // What it has not read stays where the device wrote it, in memory that had gone over.
      await before.guest.run(
        `nc ${ADDRESS} 1000 -e sh -c 'kill -STOP $$; exec dd of=/tmp/file bs=64k' & reader=$!`,
      );
      await before.guest.until(`[ ${UNREAD} -gt 50000 ]`);
      await before.guest.run('kill $writer');
      await before.guest.finishMoving();
      // Told by the guest, which has no other reason to send anything.
      await until('the network knows', () => network.whereabouts === 'guest-b');
      assert.doesNotMatch(before.server.said, /stands still|refused|turned/);
    } finally {
      await before.guest.kill();
      await before.server.end();
    }
    network.peer.goOn();
    await guest.run('kill -CONT $reader; wait $reader');
    await holds(await network.peer.said(/sent (\w+)\n/));
    network.peer.goOn();
    await upload();
  });

  it('reboots, and is served again', async () => {
    await guest.reboot();
    await network.join(guest);
    network.peer.goOn();
    await download();
    assert.doesNotMatch(server.said, /disconnected/);
  });
}

/** What a process may do, by the kernel's word. */
function rights(pid: number): { user: number; group: number; groups: string; capabilities: string } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(status)![1]!;
  const one = (name: string): number => {
    // Real, effective, saved and of the file system.
    const [id, ...others] = field(name).split('\t').map(Number);
    assert.ok(others.every((other) => other === id));
    return id!;
  };
  return {
    user: one('Uid'),
    group: one('Gid'),
    groups: field('Groups'),
    capabilities: BigInt(`0x${field('CapPrm')}`).toString(16),
  };
}
