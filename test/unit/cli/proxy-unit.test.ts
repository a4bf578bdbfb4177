import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../support/temporary-folder.js';

const NAME = 'vhost-net-proxy@.service';
const FILE = fileURLToPath(new URL(`../../../../examples/vhost-user/${NAME}`, import.meta.url));

describe('the systemd unit of the proxy', () => {
  // Where there is no systemd, nobody can judge it.
  if (existsSync('/usr/bin/systemd-analyze'))
    it('is one that systemd understands', () => {
      const folder = temporaryFolder();
      const installed = join(folder.path, NAME);
      // The command need not be installed here.
      writeFileSync(
        installed,
        readFileSync(FILE, 'utf8').replace('/usr/local/bin/vhost-net', process.execPath),
      );
      const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', installed], {
        encoding: 'utf8',
      });
      assert.deepEqual([status, stdout + stderr], [0, '']);
      folder.remove();
    });
});
