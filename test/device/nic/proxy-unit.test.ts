import assert from 'node:assert/strict';
import { chownSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { idOf } from '../../../lib/cli/proxy/identity.js';
import { Nic, remoteBackend, VhostUserClient } from '../../../lib/index.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { ServerProcess, WITHOUT_PRIVILEGES } from '../../support/server-process.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { overWorker } from '../../support/test-device.js';

const FILE = fileURLToPath(
  new URL('../../../../examples/vhost-user/vhost-net-proxy@.service', import.meta.url),
);
const unit = readFileSync(FILE, 'utf8').replaceAll('\\\n', ' ');
/** What a directive of the unit says. */
const told = (directive: string): string => new RegExp(`^${directive}=(.*)$`, 'm').exec(unit)![1]!.trim();

describe('the systemd unit of the proxy', function () {
  this.timeout(300_000);
  let folder: ReturnType<typeof temporaryFolder>;
  beforeEach(() => {
    folder = temporaryFolder();
  });
  afterEach(() => folder.remove());

  it('starts with the capabilities that it names and no more, and has none when it serves', async () => {
    const namespace = Namespace.add();
    // RuntimeDirectory= with RuntimeDirectoryMode=0755.
    chownSync(folder.path, 0, 0);
    const socket = join(folder.path, 'socket');
    const args = told('ExecStart')
      .replaceAll('%i', 'tap-a')
      .replace('/run/vhost-net-tap-a/socket', socket)
      .split(/\s+/)
      .slice(2);
    const capabilities = told('CapabilityBoundingSet')
      .split(' ')
      .map((name) => `+${name.replace('CAP_', '').toLowerCase()}`);
    const proxy = await ServerProcess.proxyUnder(
      [
        // To enter a namespace takes CAP_SYS_ADMIN, which the unit has not.
        ...['ip', 'netns', 'exec', namespace.name, 'setpriv', '--no-new-privs', '--inh-caps=-all'],
        `--bounding-set=-all,${capabilities.join(',')}`,
      ],
      ...[...args, '--device', overWorker ? 'worker' : '/dev/vhost-net'],
    );
    const nics: Nic[] = [];
    try {
      const { mode, uid, gid } = statSync(socket);
      assert.deepEqual(
        [mode & 0o777, uid, gid],
        [0o660, idOf('user', 'nobody'), idOf('group', 'kvm')],
        'whom the socket belongs to',
      );
      const vhost = await VhostUserClient.connect({ path: socket });
      nics.push(await Nic.open({ vhost, backend: remoteBackend() }));
      nics.push(await namespace.nic('tap-b'));
      namespace.bridge('cable', 'tap-a', 'tap-b');
      const [near, far] = nics as [Nic, Nic];
      await run(new Flow(near, far, new NumberedFrames(60, 'a', 'b'), 100));
      for (const status of proxy.threads()) assert.match(status, WITHOUT_PRIVILEGES);
    } finally {
      for (const nic of nics) await nic.close();
      await proxy.end();
      await namespace.remove();
    }
  });
});
