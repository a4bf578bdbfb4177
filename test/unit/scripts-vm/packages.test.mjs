import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signalOf, statusOfSignal } from '../../../scripts/vm/conversation.mjs';
import { CAP_NET_ADMIN, hasCapability } from '../../../scripts/vm/host.mjs';
import { findKernel, imageVersion, kernelPackages } from '../../../scripts/vm/kernel.mjs';
import { needPrograms, packageOf } from '../../../scripts/vm/packages.mjs';
import { completePath, findProgram } from '../../../scripts/vm/programs.mjs';
import { programsFor } from '../../../scripts/vm/run.mjs';

const silent = () => {};

describe('vm packages', () => {
  it('know which one brings a program', () => {
    assert.equal(packageOf('ping'), 'iputils-ping');
    assert.equal(packageOf('tc'), 'iproute2');
    assert.equal(packageOf('iperf3'), 'iperf3');
    assert.equal(packageOf('qemu-system-x86_64'), 'qemu-system-x86');
  });

  it('are left alone when the program is there', async () => {
    assert.match((await findProgram('sh')) ?? '', /\/sh$/);
    assert.equal(await findProgram('no-such-program-at-all'), undefined);
    await needPrograms(['sh', 'node'], () => assert.fail('nothing to install'));
  });

  it('are named in one command where they are not this user’s to install', async () => {
    const { getuid, env } = process;
    process.getuid = () => 1000;
    // Nothing at all is installed.
    process.env = { ...env, PATH: '/nowhere' };
    try {
      const programs = await programsFor({ vm: true, needs: ['no-such-program', 'no-such-other'] });
      await assert.rejects(needPrograms(programs, silent), {
        code: 'ERR_VM_PACKAGE',
        message: /Run: sudo sh -c 'apt-get update && apt-get install .* no-such-program no-such-other/,
      });
      for (const program of ['no-such-program', 'qemu-system-x86_64', 'unshare', 'setpriv'])
        assert(programs.includes(program), program);
    } finally {
      process.env = env;
      if (getuid) process.getuid = getuid;
    }
  });

  it('search the folders of the system as well', () => {
    assert.deepEqual(completePath('/x:/usr/bin').split(':').slice(0, 2), ['/x', '/usr/bin']);
    assert(completePath(undefined).split(':').includes('/usr/sbin'));
    assert.equal(
      completePath('/sbin')
        .split(':')
        .filter((folder) => folder === '/sbin').length,
      1,
    );
  });
});

describe('vm kernel', () => {
  it('of a series has packages to look in, the smallest first', () => {
    assert.equal(kernelPackages('6.12')[0], 'linux-image-6.12-cloud-amd64');
  });

  it('at a path must be a kernel', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vm-kernel-'));
    try {
      await assert.rejects(findKernel(join(folder, 'none'), silent), {
        code: 'ERR_VM_KERNEL',
        message: /there is no kernel/,
      });
      await assert.rejects(findKernel(folder, silent), {
        code: 'ERR_VM_KERNEL',
        message: /holds no boot\/vmlinuz/,
      });
      const text = join(folder, 'text');
      await writeFile(text, 'x'.repeat(100));
      await assert.rejects(findKernel(text, silent), {
        code: 'ERR_VM_KERNEL',
        message: /no bootable x86 kernel/,
      });
      const image = Buffer.alloc(4096);
      image.write('HdrS', 0x202);
      image.writeUInt16LE(0x300, 0x20e);
      image.write('6.9.9-test (someone@somewhere) #1', 0x500);
      await writeFile(text, image);
      assert.equal(await imageVersion(text), '6.9.9-test');
      await assert.rejects(findKernel(text, silent), {
        code: 'ERR_VM_KERNEL',
        message: /lib\/modules\/6\.9\.9-test/,
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('vm kernel of a package', () => {
  /** @type {string} */
  let folder;
  const { PATH: path, XDG_CACHE_HOME: cache } = process.env;

  /** Stands in for apt: `lists` says in the shell's words which package of versions needs which kernel. */
  async function fakeApt(/** @type {string} */ lists) {
    await writeFile(join(folder, 'apt-cache'), `#!/bin/sh\ncd ${folder}; ${lists}\n`, { mode: 0o755 });
    await writeFile(
      join(folder, 'apt-get'),
      `#!/bin/sh
      for word; do case $word in update) echo >>${folder}/updated ;; linux-*) echo >"$word.deb" ;; esac; done`,
      { mode: 0o755 },
    );
    await writeFile(
      join(folder, 'dpkg'),
      `#!/bin/sh
      version=$(basename "$2" .deb | sed 's/linux-image-//')
      mkdir -p "$3/boot" "$3/lib/modules/$version"; echo >"$3/boot/vmlinuz-$version"`,
      { mode: 0o755 },
    );
  }

  /** @param {string} from */
  const stands = (from, condition = 'true') =>
    `if ${condition}; then case $1 in policy) echo '  Candidate: 1' ;; *) echo '  Depends: ${from}' ;; esac; fi`;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vm-apt-'));
    process.env.PATH = `${folder}:${path}`;
    process.env.XDG_CACHE_HOME = folder;
  });
  afterEach(async () => {
    process.env.PATH = path;
    if (cache === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = cache;
    await rm(folder, { recursive: true });
  });

  it('is of the usual series, for which the lists are fetched where they lack it', async function () {
    if (process.getuid?.() !== 0) this.skip();
    await fakeApt(
      `${stands('linux-image-6.12.9-cloud-amd64', '[ -e updated ]')}; ${stands('linux-image-6.1.0-cloud-amd64', '[ ! -e updated ]')}`,
    );
    assert.equal((await findKernel(undefined, silent)).version, '6.12.9-cloud-amd64');
  });

  it('is of the release where no list has the usual series, which is asked once', async () => {
    await fakeApt(stands('linux-image-6.1.0-cloud-amd64'));
    assert.equal((await findKernel(undefined, silent)).version, '6.1.0-cloud-amd64');
    assert.equal((await findKernel(undefined, silent)).version, '6.1.0-cloud-amd64');
    if (process.getuid?.() === 0) assert.equal(await readFile(join(folder, 'updated'), 'utf8'), '\n');
    await assert.rejects(findKernel('6.12', silent), { code: 'ERR_VM_KERNEL' });
  });

  it('is of the usual series though another was fetched before', async function () {
    if (process.getuid?.() !== 0) this.skip();
    await fakeApt(
      `${stands('linux-image-6.12.9-cloud-amd64', '[ -e updated ]')}; ${stands('linux-image-6.1.0-cloud-amd64', '[ ! -e updated ]')}`,
    );
    assert.equal((await findKernel('6.1', silent)).version, '6.1.0-cloud-amd64');
    assert.equal((await findKernel(undefined, silent)).version, '6.12.9-cloud-amd64');
  });
});

describe('vm host', () => {
  it('reads the capability that a tap needs', () => {
    assert.equal(hasCapability('Name:\tx\nCapEff:\t000001ffffffffff\n', CAP_NET_ADMIN), true);
    assert.equal(hasCapability('CapEff:\t0000000000001000\n', CAP_NET_ADMIN), true);
    assert.equal(hasCapability('CapEff:\t0000000000000fff\n', CAP_NET_ADMIN), false);
    assert.equal(hasCapability('', CAP_NET_ADMIN), false);
  });
});

describe('vm interruption', () => {
  it('is the signal that the reason names', () => {
    assert.equal(signalOf('SIGINT'), 'SIGINT');
    assert.equal(signalOf('toString'), 'SIGTERM');
    assert.equal(signalOf(new DOMException('aborted', 'AbortError')), 'SIGTERM');
    assert.equal(statusOfSignal('SIGINT'), 130);
  });
});
