import assert from 'node:assert/strict';
import { serverArguments } from '../../../scripts/vm/share.mjs';

const RUST = {
  program: '/usr/libexec/virtiofsd',
  kind: /** @type {const} */ ('rust'),
  announces: true,
  overlay: true,
};
const QEMU = {
  ...RUST,
  program: '/usr/lib/qemu/virtiofsd',
  kind: /** @type {const} */ ('qemu'),
  announces: false,
};

describe('vm share', () => {
  it('speaks to both kinds of virtiofsd', () => {
    const rust = serverArguments(RUST, '/s', '/v', false);
    assert.deepEqual(rust.slice(0, 4), ['--socket-path', '/s', '--shared-dir', '/v']);
    assert.deepEqual(serverArguments(QEMU, '/s', '/v', false), [
      '--socket-path=/s',
      '-o',
      'source=/v,cache=always,modcaps=-mknod',
      '-f',
    ]);
  });

  it('asks the newer ones to show mounts as plain folders', () => {
    assert(serverArguments(RUST, '/s', '/v', false).includes('--no-announce-submounts'));
    assert(
      !serverArguments({ ...RUST, announces: false }, '/s', '/v', false).includes('--no-announce-submounts'),
    );
  });

  it('lets no device be made, and caches only what nobody changes', () => {
    for (const server of [RUST, QEMU]) {
      const still = serverArguments(server, '/s', '/v', false).join(' ');
      const changing = serverArguments(server, '/s', '/v', true).join(' ');
      assert.match(still, /cache[= ]always/);
      assert.match(changing, /cache[= ]auto/);
      for (const options of [still, changing]) assert.match(options, /modcaps=-mknod/);
    }
  });
});
