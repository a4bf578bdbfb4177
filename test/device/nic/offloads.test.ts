import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { release } from 'node:os';
import { promisify } from 'node:util';
import type { Nic, Offload } from '../../../lib/index.js';
import { arrivals } from '../../support/device-arrivals.js';
import { Cable } from '../../support/device-cable.js';
import { Forwarder } from '../../support/device-forwarder.js';
import { Namespace } from '../../support/device-namespace.js';
import { TCP } from '../../support/segment.js';
import { TcpPeer } from '../../support/tcp-peer.js';
import { until } from '../../support/until.js';

const MEGABYTES = 24;
/** An ordinary frame with its virtio-net header. */
const ORDINARY = 12 + 1518;

const [major = 0, minor = 0] = release().split('.').map(Number);
const knowsUso = major > 6 || (major === 6 && minor >= 2);

/** What iperf3 tells of a transfer. */
interface Transfer {
  readonly end: { readonly sum_received: { readonly bytes: number } };
}

/** The kernel's TCP in two namespaces, and a program between them that carries the frames of each to the other. */
describe("TCP of the kernel's, through a forwarder between two Nics", function () {
  this.timeout(300_000);
  let left: Namespace;
  let right: Namespace;
  let a: Nic;
  let b: Nic;
  let forwarder: Forwarder;
  let server: ChildProcess;

  beforeEach(async () => {
    left = Namespace.add();
    right = Namespace.add();
    const options = { queueSize: 256, bufferSize: 16_384, buffers: 1536, tap: { offloads: true } };
    a = await left.nic('tap-l', options);
    b = await right.nic('tap-r', { ...options, shared: a });
    left.ip('address', 'add', '192.0.2.1/24', 'dev', 'tap-l');
    right.ip('address', 'add', '192.0.2.2/24', 'dev', 'tap-r');
    // As long as a frame may be, however slow the machine: TCP makes them shorter where a round trip takes its time.
    for (const namespace of [left, right]) namespace.run('sysctl', '-qw', 'net.ipv4.tcp_min_tso_segs=44');
    forwarder = new Forwarder(a, b);
    server = spawn('ip', ['netns', 'exec', right.name, 'iperf3', '-s', '--forceflush'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    server.stdout!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    await until('iperf3 listens', () => said.includes('listening'));
  });
  afterEach(async () => {
    server.kill('SIGKILL');
    await forwarder.stop();
    await b.close();
    await right.remove();
    await left.remove();
  });

  /**
   * Moves bytes from left to right, or the other way, in which no checksum is found wrong. The receiver counts up to when
   * the sender has sent all; what the sockets then hold does not count.
   */
  async function transfer(...direction: string[]): Promise<void> {
    const args = ['netns', 'exec', left.name, 'iperf3', '-c', '192.0.2.2', '-n', `${MEGABYTES}M`, '-J'];
    const { stdout } = await promisify(execFile)('ip', [...args, ...direction]);
    const { end } = JSON.parse(stdout) as Transfer;
    assert.ok(end.sum_received.bytes > (MEGABYTES / 2) * 2 ** 20, `${end.sum_received.bytes} bytes came`);
    for (const namespace of [left, right]) assert.equal(checksumErrors(namespace), 0);
  }

  it('crosses in segments of 64 KiB both ways, whose checksums are left to the far end', async () => {
    for (const nic of [a, b])
      for (const each of ['csum', 'tso4', 'tso6', 'ecn'] as const) assert.ok(nic.offloads.includes(each));
    for (const nic of [a, b]) assert.equal(nic.offloads.includes('uso4'), knowsUso);
    for (const direction of [[], ['-R']]) {
      forwarder.longest = 0;
      await transfer(...direction);
      assert.ok(forwarder.longest > 60_000, `the longest frame had ${forwarder.longest} bytes`);
    }
  });

  it('crosses in such segments both ways with every byte as it was', async () => {
    const bytes = 8 * 2 ** 20;
    const peer = await TcpPeer.start(right, '192.0.2.2', bytes);
    /** What a shell on the left does with a connection to the peer. */
    const connect = (command: string, port: number) => {
      const script = `${command} /dev/tcp/192.0.2.2/${port}`;
      const child = promisify(execFile)('ip', ['netns', 'exec', left.name, 'bash', '-c', script]);
      peer.goOn();
      return child;
    };
    try {
      forwarder.longest = 0;
      const { stdout } = await connect('sha256sum <', 1000);
      assert.equal(stdout.split(' ')[0], await peer.said(/sent (\w+)/));
      assert.ok(forwarder.longest > 60_000, `the longest frame had ${forwarder.longest} bytes`);

      forwarder.longest = 0;
      const data = randomBytes(bytes);
      const sending = connect('cat >', 1001);
      sending.child.stdin!.end(data);
      await sending;
      const digest = createHash('sha256').update(data).digest('hex');
      assert.equal(await peer.said(new RegExp(`taken ${bytes} (\\w+)`)), digest);
      assert.ok(forwarder.longest > 60_000, `the longest frame had ${forwarder.longest} bytes`);
    } finally {
      await peer.end();
    }
  });

  it('crosses in ordinary frames where nothing was agreed on, whose checksums the far end verifies', async () => {
    for (const nic of [a, b]) assert.deepEqual(await nic.setOffloads(false), []);
    for (const direction of [[], ['-R']]) {
      forwarder.longest = 0;
      await transfer(...direction);
      assert.ok(forwarder.longest <= ORDINARY, `the longest frame had ${forwarder.longest} bytes`);
    }
  });

  it('goes on while the offloads change under it', async () => {
    const running = transfer();
    for (const wanted of [false, true, ['csum'], ['csum', 'tso4']] as const) {
      await a.setOffloads(wanted);
      const segmented = wanted === true || (wanted !== false && wanted.length > 1);
      let arrived = false;
      const ended = running.finally(() => {
        arrived = true;
      });
      await Promise.race([
        ended,
        until('frames come as agreed', () => {
          const { longest } = forwarder;
          forwarder.longest = 0;
          return arrived || (longest > 0 && longest > ORDINARY === segmented);
        }),
      ]);
    }
    await running;
  });
});

describe('offloads of a Nic', function () {
  this.timeout(120_000);
  let cable: Cable;

  beforeEach(async () => {
    cable = await Cable.lay({ tap: { offloads: true }, bufferSize: 16_384 });
  });
  afterEach(() => cable.remove());

  /** The segments in which a frame of the kernel's comes that is to be cut where the other end does not take it whole. */
  async function send(
    payload: number,
    ecn: boolean,
  ): Promise<readonly { length: number; ecn: boolean; gso: string }[]> {
    const frame = TCP.segment(54 + payload, 'a', 'b');
    const found = arrivals(
      cable.b,
      (all) => all.reduce((sum, each) => sum + each.frame.length - 54, 0) >= payload,
    );
    await cable.a.send(frame, { header: { ...TCP.header(1448), ecn } });
    return (await found).map(({ frame: { length }, header }) => ({
      length,
      ecn: header.ecn,
      gso: header.gsoType,
    }));
  }

  it('are what each frame comes with: whole where agreed on, cut where not', async () => {
    const whole = [{ length: 54 + 14_480, ecn: false, gso: 'tcpv4' }];
    const cut = Array.from({ length: 10 }, () => ({ length: 54 + 1448, ecn: false, gso: 'none' }));
    assert.deepEqual(await send(14_480, false), whole);
    for (const [wanted, expected] of [
      [['csum'], cut],
      [['csum', 'tso6'], cut],
      [['csum', 'tso4'], whole],
      [false, cut],
      [true, whole],
    ] as const) {
      const agreed: readonly Offload[] = await cable.b.setOffloads(wanted);
      assert.deepEqual(cable.b.offloads, agreed);
      if (Array.isArray(wanted)) assert.deepEqual(agreed, wanted);
      assert.deepEqual(await send(14_480, false), expected, `${wanted}`);
    }
  });

  it('tell of ECN where it was agreed on, and have the frame cut where not', async () => {
    assert.deepEqual(await send(2896, true), [{ length: 54 + 2896, ecn: true, gso: 'tcpv4' }]);
    await cable.b.setOffloads(['csum', 'tso4']);
    const segments = await send(2896, true);
    assert.deepEqual(
      segments.map(({ length, gso }) => [length, gso]),
      [
        [54 + 1448, 'none'],
        [54 + 1448, 'none'],
      ],
    );
  });

  it('are refused where the kernel does not know them, or the buffers could not hold what would come', async () => {
    await assert.rejects(cable.b.setOffloads(['tso4'] as const), { code: 'ERR_VHOST_OUT_OF_RANGE' });
    if (!knowsUso)
      await assert.rejects(cable.b.setOffloads(['csum', 'uso4', 'uso6']), {
        code: 'EINVAL',
        request: 'TUNSETOFFLOAD',
      });
    assert.ok(cable.b.offloads.includes('tso4'), 'they stay as they were');
    const small = await cable.namespace.nic('tap-s', { queueSize: 8 });
    assert.deepEqual(small.offloads, []);
    for (const wanted of [true, ['csum', 'tso4']] as const)
      await assert.rejects(small.setOffloads(wanted), { code: 'ERR_VHOST_OUT_OF_RANGE' });
    assert.deepEqual(await small.setOffloads(['csum']), ['csum']);
  });
});

/** Segments that the network stack of a namespace found to have a wrong checksum. */
function checksumErrors(namespace: Namespace): number {
  const [names, values] = namespace
    .run('cat', '/proc/net/snmp')
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  return Number(values![names!.indexOf('InCsumErrors')]);
}
