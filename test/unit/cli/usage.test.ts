import assert from 'node:assert/strict';
import { parseOptions, UsageError } from '../../../lib/cli/usage.js';

describe('the options of a command', () => {
  const options = { json: { type: 'boolean' }, count: { type: 'string' } } as const;

  it('are read by name', () => {
    assert.deepEqual({ ...parseOptions(['--json', '--count=3'], options) }, { json: true, count: '3' });
  });

  for (const [args, problem] of [
    [['--jsn'], 'there is no option --jsn; did you mean --json?'],
    [['--verbose'], 'there is no option --verbose'],
    [['-j'], 'there is no option -j'],
    [['word'], "Unexpected argument 'word'"],
    [['--count'], "Option '--count <value>' argument missing"],
  ] as const)
    it(`${args.join(' ')} is refused: ${problem}`, () => {
      assert.throws(
        () => parseOptions(args, options),
        (error) => error instanceof UsageError && error.message === problem,
      );
    });
});
