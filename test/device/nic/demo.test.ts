import assert from 'node:assert/strict';
import type { DemoResult } from '../../../lib/cli/demo/measure.js';
import { runProgram } from '../../support/node-program.js';
import { overWorker } from '../../support/test-device.js';
import { DEADLINE } from '../../support/until.js';

const MAIN = new URL('../../../lib/cli/main.js', import.meta.url);

describe('vhost-net demo', () => {
  it('has every ping answered and every frame accounted for', async () => {
    const args = ['demo', '--json', ...(overWorker ? ['--worker'] : [])];
    const { status, stdout, stderr } = await runProgram(MAIN, args, { deadline: 5 * DEADLINE });
    assert.equal(status, 0, stderr);
    const { device, pings, ledger } = JSON.parse(stdout) as DemoResult;
    assert.equal(device, overWorker ? 'worker' : '/dev/vhost-net');
    assert.equal(pings.sent, 2020);
    assert.equal(pings.answered, 2020);
    assert.equal(ledger.completed, ledger.submitted);
    // What was sent is a reply to each ping, and to the ARP before them.
    assert.ok(ledger.completed > 2020, `${ledger.completed}`);
  });
});
