import assert from 'node:assert/strict';
import { Budget } from '../../../lib/completion/budget.js';

describe('Budget', () => {
  it('is what the kernel gives its own worker, unless told', () => {
    const budget = new Budget();
    assert.equal(budget.frames, 256);
    assert.equal(budget.bytes, 0x8_0000);
  });

  it('is over at the frames or at the bytes, whichever come first', () => {
    const budget = new Budget(10, 1000);
    assert.equal(budget.left, 10);
    assert.equal(budget.bytesLeft, 1000);
    budget.spend(9, 999);
    assert.equal(budget.left, 1);
    budget.spend(1, 0);
    assert.equal(budget.left, 0);

    budget.renew();
    budget.spend(1, 1000);
    assert.equal(budget.left, 0);
  });

  it('lets a frame that begins within it end beyond it', () => {
    const budget = new Budget(10, 1000);
    budget.spend(1, 999);
    assert.equal(budget.left, 9);
    budget.spend(1, 65_562);
    assert.equal(budget.left, 0);
    budget.renew();
    assert.equal(budget.left, 10, 'the next round owes nothing');
  });

  it('is of at least one frame and one byte', () => {
    assert.throws(() => new Budget(0), { message: /^budget\.frames must be a whole number from 1/ });
    assert.throws(() => new Budget(1, 0), { message: /^budget\.bytes must be a whole number from 1/ });
    assert.throws(() => new Budget(1.5), { code: 'ERR_VHOST_OUT_OF_RANGE' });
  });
});
