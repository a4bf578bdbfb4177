import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  checkInteger,
  checkInterfaceName,
  checkOptions,
  checkU64,
  wrongType,
  wrongValue,
} from '../../../lib/errors/check.js';
import { seed } from '../../support/random.js';

const wrongTypeCode = { name: 'TypeError [ERR_VHOST_INVALID_ARGUMENT]' };
const wrongValueCode = { name: 'RangeError [ERR_VHOST_OUT_OF_RANGE]' };

describe('checks of arguments', () => {
  it('name the argument, the rule and what came', () => {
    assert.equal(wrongType('size', 'a number', 'x').message, "size must be a number; received 'x'");
    assert.equal(wrongValue('size', 'even', 3).message, 'size must be even; received 3');
    assert.equal(
      wrongType('frames', 'an array', { nested: { deep: 1 } }).message,
      'frames must be an array; received { nested: [Object] }',
      'on one line, and not for ever',
    );
    assert.ok(wrongValue('x', 'short', 'y'.repeat(1000)).message.length < 150);
    assert.ok(wrongValue('x', 'short', new Uint8Array(1000)).message.length < 150);
  });

  it('checkInteger takes whole numbers from low to high', () => {
    fc.assert(
      fc.property(fc.double(), fc.integer(), fc.nat(), (value, low, span) => {
        const right = Number.isInteger(value) && value >= low && value <= low + span;
        if (right) assert.equal(checkInteger('n', value, low, low + span), value);
        else assert.throws(() => checkInteger('n', value, low, low + span), wrongValueCode);
      }),
      { seed },
    );
    assert.equal(checkInteger('n', 1, 1, 5), 1);
    assert.equal(checkInteger('n', 5, 1, 5), 5);
    for (const value of [0, 6, 1.5, Number.NaN, Infinity])
      assert.throws(() => checkInteger('n', value, 1, 5), wrongValueCode);
    for (const value of ['1', 1n, null, undefined, {}, true])
      assert.throws(() => checkInteger('n', value, 1, 5), wrongTypeCode);
  });

  it('checkU64 takes a bigint of 64 bits', () => {
    assert.equal(checkU64('features', 0n), 0n);
    assert.equal(checkU64('features', 2n ** 64n - 1n), 2n ** 64n - 1n);
    assert.throws(() => checkU64('features', 2n ** 64n), wrongValueCode);
    assert.throws(() => checkU64('features', -1n), wrongValueCode);
    assert.throws(() => checkU64('features', 1), {
      ...wrongTypeCode,
      message: 'features must be a bigint; received 1',
    });
  });

  it('checkInterfaceName takes what dev_valid_name() takes', () => {
    for (const name of ['a', 'tap%d', 'eth0.100', 'x'.repeat(15), 'ä'.repeat(7), '...'])
      assert.equal(checkInterfaceName('name', name), name);
    assert.throws(() => checkInterfaceName('tap.name', 'x'.repeat(16)), {
      ...wrongValueCode,
      message:
        "tap.name must be an interface name of 1 to 15 bytes (this one has 16); received 'xxxxxxxxxxxxxxxx'",
    });
    assert.throws(() => checkInterfaceName('name', 'ä'.repeat(8)), wrongValueCode, 'bytes, not characters');
    for (const name of ['', '.', '..', 'a/b', 'a b', 'a\tb', 'a\nb', 'a:b', 'a\0'])
      assert.throws(() => checkInterfaceName('name', name), wrongValueCode);
    for (const name of [undefined, 7, null])
      assert.throws(() => checkInterfaceName('name', name), wrongTypeCode);
  });
});

describe('checkOptions', () => {
  const known = ['queueSize', 'mtu', 'mac', 'sendBuffer'];

  it('takes options that are known, and none', () => {
    checkOptions('options', {}, known);
    checkOptions('options', { mtu: 1500, mac: undefined }, known);
  });

  it('guesses what was meant', () => {
    const guesses: [string, string][] = [
      ['queuesize', 'queueSize'],
      ['QueueSize', 'queueSize'],
      ['queue_size', 'queueSize'],
      ['queue-size', 'queueSize'],
      ['queueSizes', 'queueSize'],
      ['queue', 'queueSize'],
      ['MTU', 'mtu'],
      ['send', 'sendBuffer'],
    ];
    for (const [wrong, meant] of guesses)
      assert.throws(() => checkOptions('options', { [wrong]: 1 }, known), {
        ...wrongTypeCode,
        message: `options must be made of the options queueSize, mtu, mac, sendBuffer (did you mean "${meant}"?); received { ${/[-]/.test(wrong) ? `'${wrong}'` : wrong}: 1 }`,
      });
  });

  it('guesses nothing from nothing', () => {
    for (const wrong of ['colour', '', '1', '$'])
      assert.throws(
        () => checkOptions('options', { [wrong]: 1 }, known),
        (error: Error) => !error.message.includes('did you mean'),
        wrong,
      );
  });

  it('takes an object only', () => {
    for (const value of [null, undefined, 1, 'tap0', [], () => {}])
      assert.throws(() => checkOptions('tap', value, known), {
        ...wrongTypeCode,
        message: /^tap must be an object of options; received /,
      });
  });
});
