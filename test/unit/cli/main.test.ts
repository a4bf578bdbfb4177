import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Diagnosis } from '../../../lib/cli/doctor/diagnosis.js';

const MAIN = fileURLToPath(new URL('../../../lib/cli/main.js', import.meta.url));
const PACKAGE = new URL('../../../../package.json', import.meta.url);
const NO_ADDON = new URL('../../../../LICENSE', import.meta.url);

/** Runs the command as a shell would: by its own first line. */
function vhostNet(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}

describe('the command vhost-net', () => {
  it('begins with the line that makes it a program', () => {
    assert.match(readFileSync(MAIN, 'utf8'), /^#!\/usr\/bin\/env node\n/);
  });

  it('tells its version', () => {
    const { version } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string };
    assert.deepEqual(vhostNet(['--version']), { status: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('lists its commands, and each tells of itself', () => {
    const { status, stdout } = vhostNet(['--help']);
    assert.equal(status, 0);
    const names = Array.from(stdout.matchAll(/^ {2}([a-z]+) {2}/gm), (match) => match[1]!);
    assert.ok(names.includes('doctor') && names.includes('demo'));
    for (const name of names) {
      const help = vhostNet([name, '--help']);
      assert.equal(help.status, 0);
      assert.match(help.stdout, new RegExp(`^Usage: vhost-net ${name}`));
    }
  });

  for (const [args, problem] of [
    [[], /^vhost-net: there is no command\n\nUsage/],
    [
      ['docter'],
      /^vhost-net: there is no command docter; did you mean doctor\? \(vhost-net --help lists them\)\n$/,
    ],
    [['constructor'], /^vhost-net: there is no command constructor \(/],
    [['--verbose'], /^vhost-net: there is no option --verbose \(vhost-net --help\)\n$/],
    [['doctor', '--jsn'], /^vhost-net: there is no option --jsn; did you mean --json\?\n$/],
    [['doctor', 'now'], /^vhost-net: Unexpected argument 'now'/],
  ] as const)
    it(`refuses "${args.join(' ')}" with status 2`, () => {
      const { status, stdout, stderr } = vhostNet(args);
      assert.equal(status, 2);
      assert.equal(stdout, '');
      assert.match(stderr, problem);
    });

  it('diagnoses a machine on which the addon does not load', () => {
    const { status, stdout } = vhostNet(['doctor', '--json'], { VHOST_NET_ADDON: fileURLToPath(NO_ADDON) });
    const { ready, checks } = JSON.parse(stdout) as Diagnosis;
    assert.equal(status, 1);
    assert.equal(ready, false);
    assert.equal(checks.find(({ name }) => name === 'native addon')?.status, 'blocked');
  });
});
