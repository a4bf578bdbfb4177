import assert from 'node:assert/strict';
import type { DemoResult } from '../../../lib/cli/demo/measure.js';
import { runProgram } from '../../support/node-program.js';
import { overWorker } from '../../support/test-device.js';
import { DEADLINE } from '../../support/until.js';

const MAIN = new URL('../../../lib/cli/main.js', import.meta.url);

/** Less than the demo itself, which only shows more of the same. */
const FLOOD = 200;

describe('vhost-net demo', () => {
  it('has every ping answered and every frame accounted for', async () => {
    const args = ['demo', '--json', '--flood', String(FLOOD), ...(overWorker ? ['--worker'] : [])];
    const { status, stdout, stderr } = await runProgram(MAIN, args, { deadline: 5 * DEADLINE });
    assert.equal(status, 0, stderr);
    const { device, pings, ledger } = JSON.parse(stdout) as DemoResult;
    assert.equal(device, overWorker ? 'worker' : '/dev/vhost-net');
    const asked = 20 + FLOOD;
    assert.deepEqual([pings.asked, pings.sent, pings.answered], [asked, asked, asked]);
    assert.equal(ledger.completed, ledger.submitted);
    // What was sent is a reply to each ping, and to the ARP before them.
    assert.ok(ledger.completed > asked, `${ledger.completed}`);
  });
});
