import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  commandScript,
  environmentInside,
  errandArchive,
  makeMark,
  quote,
} from '../../../scripts/vm/command.mjs';

/** @typedef {Partial<Record<'PATH' | 'CI' | 'VHOST_VM' | 'NODE_CHANNEL_FD' | 'NODE_OPTIONS', string>>} Inside */
/** @type {(env: Record<string, string>) => Inside} */
const insideOf = (env) => environmentInside(env, '/');

const ERRAND = {
  command: 'printf',
  args: ["it's", 'a\nline', '$HOME `id` "x" \\', ''],
  cwd: "/tmp/it's here",
  env: { PATH: '/bin', EMPTY: '', 'odd.name': "'", GONE: undefined },
  writable: ['/a', '/b'],
  shown: ['/tmp/clone', '/home/me'],
  overlay: true,
  zerocopy: true,
  hugepages: 0,
  stdin: false,
  terminal: undefined,
};

describe('vm command', () => {
  it('survives a shell whatever its words hold', () => {
    for (const word of ERRAND.args) {
      assert.equal(execFileSync('/bin/sh', ['-c', `printf %s ${quote(word)}`]).toString(), word);
    }
  });

  it('gets its words, folder and environment as they are', () => {
    // Words as env and chroot would get them, if they were programs that print what they get.
    const script = commandScript(ERRAND)
      .replace('echo $$ >/pid', '')
      .replace('exec /bin/busybox env', "printf '%s\\0'");
    const words = execFileSync('/bin/sh', ['-c', script]).toString().split('\0').slice(0, -1);
    const chroot = words.indexOf('/bin/busybox');
    assert.deepEqual(words.slice(chroot), [
      '/bin/busybox',
      'chroot',
      '.',
      '/usr/bin/env',
      '-C',
      ERRAND.cwd,
      '--',
      'printf',
      ...ERRAND.args,
    ]);
    const variables = words.slice(1, chroot);
    assert(variables.includes('EMPTY='));
    assert(variables.includes("odd.name='"));
    assert(variables.includes(`PWD=${ERRAND.cwd}`));
    assert(!variables.some((variable) => variable.startsWith('GONE')));
  });

  it('does not get what only this process can use', () => {
    const inside = insideOf({ NODE_CHANNEL_FD: '3', NODE_OPTIONS: '--no-warnings', CI: 'true' });
    assert.equal(inside.NODE_CHANNEL_FD, undefined);
    assert.equal(inside.NODE_OPTIONS, '--no-warnings');
    assert.equal(inside.CI, 'true');
    assert.equal(inside.VHOST_VM, '1');
  });

  it("finds the system's programs even with a plain user's PATH", () => {
    assert.equal(insideOf({ PATH: '/opt/bin:/usr/bin' }).PATH?.startsWith('/opt/bin:/usr/bin:'), true);
    assert(insideOf({}).PATH?.split(':').includes('/usr/sbin'));
  });

  it('travels in an archive that the kernel unpacks', () => {
    const archive = errandArchive(ERRAND, makeMark());
    assert.equal(archive.length % 4, 0);
    const text = archive.toString('latin1');
    assert(text.startsWith('070701'));
    assert(text.includes("zerocopy='1'\n"));
    assert(text.includes('/a\n/b\n'));
    assert(text.includes('TRAILER!!!'));
  });

  it('keeps a /run that it stands in', () => {
    const text = (/** @type {string} */ cwd) =>
      errandArchive({ ...ERRAND, cwd }, makeMark()).toString('latin1');
    assert(text('/run/user/1').includes("keep_run='1'"));
    assert(text('/running').includes("keep_run='0'"));
  });
});
