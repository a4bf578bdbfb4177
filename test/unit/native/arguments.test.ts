import assert from 'node:assert/strict';
import { hostKernel } from '../../../lib/kernel/host.js';
import { resultOf } from './program.js';
import { requireRoot } from './root.js';

const RUNS = 300;

describe('native arguments', () => {
  before(requireRoot);

  it(`takes ${RUNS} calls with anything at all to each method without harm`, async () => {
    const calls = (await resultOf('fuzz', { arguments: [String(RUNS)], isolated: true })) as Record<
      string,
      number
    >;
    const { files: _, ...surfaces } = hostKernel();
    const methods = Object.entries(surfaces).flatMap(([surface, group]) =>
      Object.keys(group).map((name) => `${surface}.${name}`),
    );
    assert.deepEqual(Object.keys(calls), methods);
    for (const [method, count] of Object.entries(calls)) assert.equal(count, RUNS, method);
  });

  it('gives each method the name that it is called by', () => {
    const { files: _, ...surfaces } = hostKernel();
    for (const group of Object.values(surfaces))
      for (const [name, method] of Object.entries(group))
        assert.equal((method as { name: string }).name, name);
  });
});
