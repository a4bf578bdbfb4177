import assert from 'node:assert/strict';
import { Turns } from '../../../../lib/vhost/worker/turns.js';
import { turn } from '../../../support/until.js';

function unexpected(error: unknown): never {
  throw error;
}

describe('turns of a queue’s handler', () => {
  it('run at once, and never within themselves', () => {
    const ran: string[] = [];
    const turns: Turns = new Turns(() => {
      ran.push(`begin ${turns.running}`);
      if (ran.length === 1) turns.now();
      ran.push('end');
    }, unexpected);
    turns.now();
    assert.deepEqual(ran, ['begin true', 'end']);
    turns.now();
    assert.deepEqual(ran, ['begin true', 'end', 'begin true', 'end']);
    turns.stop();
  });

  it('come later too, and the loop does not sleep until then', async () => {
    const held = (): number =>
      process.getActiveResourcesInfo().filter((resource) => resource === 'Immediate').length;
    let ran = 0;
    const turns = new Turns(() => void ran++, unexpected);
    const before = held();
    turns.later();
    turns.later();
    assert.deepEqual([ran, held() - before], [0, 1]);
    await turn();
    assert.equal(ran, 1);
    turns.later();
    turns.stop();
    await turn();
    assert.deepEqual([ran, held() - before], [1, 0]);
  });

  it('tell of what they throw, and go on', () => {
    const told: unknown[] = [];
    let ran = 0;
    const turns = new Turns(
      () => {
        ran++;
        throw new Error(`turn ${ran}`);
      },
      (error) => told.push((error as Error).message),
    );
    turns.now();
    turns.now();
    assert.deepEqual([told, turns.running], [['turn 1', 'turn 2'], false]);
  });
});
