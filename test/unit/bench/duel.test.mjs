import assert from 'node:assert/strict';
import { costs, inTurn, medianCpu, takeTurns } from '../../../scripts/bench/duel.mjs';
import { callsByName } from '../../../scripts/bench/system-calls.mjs';

/** @typedef {import('../../../scripts/bench/contender.mjs').Contender} Contender */

/** A contender that writes down what happens to it. @param {string} name @param {string[]} told @returns {Contender} */
function contender(name, told) {
  const tell = (/** @type {string} */ what) => () => void told.push(`${name} ${what}`);
  return /** @type {any} */ ({
    name,
    resume: tell('resumes'),
    pause: tell('pauses'),
    mustRun() {},
    failure: (/** @type {string} */ what) => new Error(`${name} ${what}`),
  });
}

describe('bench: turns', () => {
  const options = { pairs: 2, seconds: 1, say() {} };

  it('lets each run alone, after a turn to warm up, and begins each round with another', async () => {
    /** @type {string[]} */
    const told = [];
    const measure = async (/** @type {Contender} */ { name }) => {
      told.push(`${name} runs`);
      return { value: told.length, cpu: {} };
    };
    const turns = await takeTurns([contender('a', told), contender('b', told)], measure, options);
    const turn = (/** @type {string} */ name) => [`${name} resumes`, `${name} runs`, `${name} pauses`];
    assert.deepEqual(told, ['a', 'b', 'a', 'b', 'b', 'a'].flatMap(turn));
    // By contender and by round, whoever came first in it.
    assert.deepEqual(
      turns.map((all) => all.map(({ value }) => value)),
      [
        [8, 17],
        [11, 14],
      ],
    );
  });

  it('ends where a contender does nothing', async () => {
    const idle = async () => ({ value: 0, cpu: {} });
    await assert.rejects(takeTurns([contender('a', [])], idle, options), /a did nothing in round 1/);
  });

  it('begins with each in turn', () => {
    assert.deepEqual(
      [inTurn(3, 0), inTurn(3, 1), inTurn(3, 5)],
      [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
      ],
    );
  });
});

describe('bench: costs', () => {
  it('are those of the window, by thread and a million frames', () => {
    const before = { cpu: new Map([['node', 1]]), calls: new Map([['node', 100]]) };
    const after = {
      cpu: new Map([
        ['node', 1.5],
        ['vhost worker', 0.25],
      ]),
      calls: new Map([['node', 150]]),
    };
    assert.deepEqual(costs(before, after, 500_000), {
      cpu: { node: 1, 'vhost worker': 0.5 },
      calls: { node: 100 },
    });
  });

  it('of a contender that runs in no thread of its own are unknown', () => {
    assert.deepEqual(costs(null, null, 1), { cpu: null, calls: null });
    assert.equal(medianCpu([{ value: 1, cpu: null }]), null);
    assert.deepEqual(
      medianCpu([
        { value: 1, cpu: { node: 1 } },
        { value: 1, cpu: { node: 3, 'vhost worker': 2 } },
      ]),
      { node: 2, 'vhost worker': 1 },
    );
  });

  it('counts the calls of a process by the names of its threads', () => {
    const histogram =
      '{ common_pid:         10 } hitcount:          3\n' +
      '{ common_pid:         11 } hitcount:          4\n' +
      '{ common_pid:         12 } hitcount:          5\n' +
      '{ common_pid:         99 } hitcount:          6\n';
    const threads = [
      { task: '10', name: 'node' },
      { task: '11', name: 'libuv-worker' },
      { task: '12', name: 'libuv-worker' },
    ];
    assert.deepEqual(
      [...callsByName(threads, histogram)],
      [
        ['node', 3],
        ['libuv-worker', 9],
      ],
    );
  });
});
