import assert from 'node:assert/strict';
import { Namespace } from '../../support/device-namespace.js';
import { runProgram } from '../../support/node-program.js';
import { until } from '../../support/until.js';

const program = new URL('./programs/end-amid-traffic.js', import.meta.url);

describe('a process that ends amid traffic', function () {
  this.timeout(300_000);
  let namespace: Namespace;

  beforeEach(() => {
    namespace = Namespace.add();
  });
  afterEach(() => namespace.remove());

  for (const [way, what] of [
    ['exit', 'by process.exit()'],
    ['unref', 'because its Nics do not hold it: unref()'],
  ] as const)
    it(`${what} ends with status 0, says nothing, and leaves no tap`, async () => {
      const { status, signal, stdout, stderr } = await runProgram(program, [namespace.name, way]);
      assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' });
      assert.match(stdout, /^[1-9]\d* in flight\n$/);
      await until('the taps are gone', () => !/tap-/.test(namespace.ip('link')));
    });
});
