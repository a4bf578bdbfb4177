import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { DIFFERENCES } from '../../support/differences.js';

const page = readFileSync(new URL('../../../../docs/worker.md', import.meta.url), 'utf8');

describe('docs/worker.md', () => {
  it('lists the differences that the contract suite knows, and no other', () => {
    const rows = [...page.matchAll(/^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$/gm)];
    const listed = rows.map(([, what, kernel, worker]) => [what, { kernel, worker }]);
    assert.deepEqual(Object.fromEntries(listed), DIFFERENCES);
  });
});
