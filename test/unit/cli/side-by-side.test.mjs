import assert from 'node:assert/strict';
import { once } from 'node:events';
import { sideBySide } from '../../../scripts/test/side-by-side.mjs';

/** @typedef {import('../../../scripts/test/side-by-side.mjs').Out} Out */

describe('jobs side by side', () => {
  /** @type {string[]} */
  const chunks = [];
  const printed = () => chunks.join('');
  const stdout = { write: (/** @type {Buffer | string} */ chunk) => chunks.push(`${chunk}`) };
  const stderr = { write: (/** @type {Buffer | string} */ chunk) => chunks.push(`(${chunk})`) };
  beforeEach(() => {
    chunks.length = 0;
  });

  /** A job that goes on word by word. @param {string} name */
  function job(name) {
    const words = new EventTarget();
    let began = false;
    /** @param {Out} out */
    const run = async (out) => {
      began = true;
      for (let i = 0; ; i++) {
        const [event] = await once(words, 'word');
        if (event.detail === 'end') return name;
        (i % 2 === 0 ? out.stdout : out.stderr)(event.detail);
      }
    };
    const say = async (/** @type {string} */ detail) => {
      words.dispatchEvent(new CustomEvent('word', { detail }));
      await new Promise(setImmediate);
    };
    return { run, say, began: () => began };
  }

  it('do not mix what they write, and lose none of it', async () => {
    const [a, b, c] = [job('a'), job('b'), job('c')];
    const results = sideBySide([a.run, b.run, c.run], 2, { stdout, stderr });
    await b.say('b1 ');
    await a.say('a1 ');
    await b.say('b2 ');
    assert.equal(c.began(), false);
    await b.say('end');
    assert.equal(c.began(), true);
    await c.say('c1 ');
    await a.say('a2 ');
    assert.equal(printed(), 'a1 (a2 )');
    await a.say('end');
    assert.equal(printed(), 'a1 (a2 )b1 (b2 )c1 ');
    await c.say('c2 ');
    assert.equal(printed(), 'a1 (a2 )b1 (b2 )c1 (c2 )');
    await c.say('end');
    assert.deepEqual(await results, ['a', 'b', 'c']);
  });

  it('are not begun after an abort', async () => {
    const [a, b] = [job('a'), job('b')];
    const abort = new AbortController();
    const results = sideBySide([a.run, b.run], 1, { stdout, stderr, signal: abort.signal });
    abort.abort();
    await a.say('end');
    assert.deepEqual(await results, ['a']);
    assert.equal(b.began(), false);
  });
});
