import assert from 'node:assert/strict';
import { demo } from '../../../lib/cli/demo/command.js';
import { UsageError } from '../../../lib/cli/usage.js';

describe('vhost-net demo', () => {
  const io = { out() {}, err() {}, signal: new AbortController().signal };

  for (const flood of ['0', '65536', '-1', '1.5', 'many', ''])
    it(`refuses a flood of ${JSON.stringify(flood)}`, async () => {
      await assert.rejects(
        async () => demo.run([`--flood=${flood}`], io),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.equal(error.message, `--flood is a number of pings from 1 to 65535, not ${flood}`);
          return true;
        },
      );
    });
});
