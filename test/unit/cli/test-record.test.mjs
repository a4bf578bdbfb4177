import assert from 'node:assert/strict';
import { tally } from '../../../scripts/test/record.mjs';

/** @typedef {import('../../../scripts/test/record.mjs').Entry} Entry */

/** @param {Entry[]} entries */
const record = (...entries) => entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
/** @type {(total: number) => Entry} */
const begin = (total) => ({ event: 'begin', total });
/** @type {(event: 'start' | 'pass' | 'skip', title: string) => Entry} */
const test = (event, title) => ({ event, title });
/** @type {Entry} */
const end = { event: 'end' };

describe('the record of a test run', () => {
  it('is summed up', () => {
    /** @type {Entry} */
    const fail = { event: 'fail', title: 'b', why: 'no' };
    const text = record(begin(3), test('start', 'a'), test('pass', 'a'), fail, test('skip', 'c'), end);
    const { failures, ...sum } = tally(text, 'mocha ended with status 1');
    assert.deepEqual(sum, { passed: 1, failed: 1, skipped: 1 });
    assert.deepEqual(failures, [fail]);
  });

  it('counts what a failed hook kept from running', () => {
    /** @type {Entry} */
    const hook = { event: 'hook', title: '"before all" hook', why: 'no device' };
    const sum = tally(record(begin(3), test('pass', 'a'), hook, end), 'mocha ended with status 1');
    assert.deepEqual(sum, { passed: 1, failed: 2, skipped: 0, failures: [hook] });
  });

  it('counts a failed hook after the last test', () => {
    /** @type {Entry} */
    const hook = { event: 'hook', title: '"after all" hook', why: 'a leak' };
    const sum = tally(record(begin(1), test('pass', 'a'), hook, end), 'mocha ended with status 1');
    assert.equal(sum.failed, 1);
  });

  it('counts what did not run when the run died, and names where', () => {
    const text = record(begin(4), test('start', 'a'), test('pass', 'a'), test('start', 'b'));
    assert.deepEqual(tally(`${text}{"event":"pa`, 'QEMU ended under the VM'), {
      passed: 1,
      failed: 3,
      skipped: 0,
      failures: [{ title: 'b (the last to start)', why: 'QEMU ended under the VM' }],
    });
  });

  it('is a failure where nothing began', () => {
    const sum = tally('', 'the VM does not start');
    assert.deepEqual(sum, {
      passed: 0,
      failed: 1,
      skipped: 0,
      failures: [{ title: 'nothing ran', why: 'the VM does not start' }],
    });
  });

  it('is a failure where everything passed and the run ended badly', () => {
    const sum = tally(record(begin(1), test('pass', 'a'), end), 'ended after its limit of 5 s');
    assert.equal(sum.passed, 1);
    assert.equal(sum.failed, 1);
    assert.deepEqual(sum.failures, [{ title: 'after the last test', why: 'ended after its limit of 5 s' }]);
  });
});
