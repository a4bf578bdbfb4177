import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { proxy } from '../../../lib/cli/proxy/command.js';
import { groupOf, idOf } from '../../../lib/cli/proxy/identity.js';
import { UsageError } from '../../../lib/cli/usage.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

describe('vhost-net proxy', () => {
  const context = { signal: new AbortController().signal, out: () => {}, err: () => {} };

  it('says what is wrong with its options before it opens anything', async () => {
    for (const [args, message] of [
      [[], /--socket PATH is missing/],
      [['--socket', 's'], /one of --tap NAME, --macvtap NAME and --program FILE is needed/],
      [['--socket', 's', '--tap', 'a', '--macvtap', 'b'], /exclude each other/],
      [['--socket', 's', '--tap', 'a', '--socket-mode', '888'], /octal, such as 660; it is 888/],
      [['--socket', 's', '--tap', 'a', '--user', 'nobody-at-all'], /there is no user nobody-at-all/],
      [['--socket', 's', '--tap', 'a', '--user', '4242424'], /name a --group/],
      [['--socket', 's', '--tap', 'a', '--group', '0'], /--group needs --user/],
      [['--socket', 's', '--tap', 'a', '--user', 'root'], /--user root would give nothing up/],
      [['--sockte', 's'], /did you mean --socket/],
    ] as const)
      await assert.rejects(proxy.run(args, context), (error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, message);
        return true;
      });
  });

  it('says what is wrong with the file of a program', async () => {
    const folder = temporaryFolder();
    const socket = join(folder.path, 'socket');
    for (const [text, message] of [
      ['export const x = 1;', /must export a function by default/],
      ['export default () => 1;', /must return an object with a function transmit/],
      ['export default () => { throw new Error("not today"); };', /not today/],
    ] as const) {
      // What has a name is loaded once.
      const file = join(folder.path, `${message.source.length}.mjs`);
      writeFileSync(file, text);
      await assert.rejects(proxy.run(['--socket', socket, '--program', file], context), message);
      assert.equal(existsSync(socket), false);
    }
    folder.remove();
  });

  it('knows users and groups by name and by number', () => {
    assert.equal(idOf('user', 'root'), 0);
    assert.equal(idOf('group', 'root'), 0);
    assert.equal(idOf('user', '17'), 17);
    assert.equal(groupOf(0), 0);
    assert.equal(groupOf(4_242_424), undefined);
  });
});
