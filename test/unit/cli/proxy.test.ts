import assert from 'node:assert/strict';
import { proxy } from '../../../lib/cli/proxy/command.js';
import { groupOf, idOf } from '../../../lib/cli/proxy/identity.js';
import { UsageError } from '../../../lib/cli/usage.js';

describe('vhost-net proxy', () => {
  const context = { signal: new AbortController().signal, out: () => {}, err: () => {} };

  it('says what is wrong with its options before it opens anything', async () => {
    for (const [args, message] of [
      [[], /--socket PATH is missing/],
      [['--socket', 's'], /one of --tap NAME and --macvtap NAME/],
      [['--socket', 's', '--tap', 'a', '--macvtap', 'b'], /one of --tap NAME and --macvtap NAME/],
      [['--socket', 's', '--tap', 'a', '--socket-mode', '888'], /octal, such as 660; it is 888/],
      [['--socket', 's', '--tap', 'a', '--user', 'nobody-at-all'], /there is no user nobody-at-all/],
      [['--socket', 's', '--tap', 'a', '--user', '4242424'], /name a --group/],
      [['--socket', 's', '--tap', 'a', '--group', '0'], /--group needs --user/],
      [['--sockte', 's'], /did you mean --socket/],
    ] as const)
      await assert.rejects(proxy.run(args, context), (error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, message);
        return true;
      });
  });

  it('knows users and groups by name and by number', () => {
    assert.equal(idOf('user', 'root'), 0);
    assert.equal(idOf('group', 'root'), 0);
    assert.equal(idOf('user', '17'), 17);
    assert.equal(groupOf(0), 0);
    assert.equal(groupOf(4_242_424), undefined);
  });
});
