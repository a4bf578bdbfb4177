import assert from 'node:assert/strict';
import { wantedEntries } from '../../../scripts/bench/compare.mjs';
import { chosen, UnknownWords } from '../../../scripts/bench/works.mjs';

const run = async () => [];
const all = [
  { name: 'transmit 60 B', peers: ['limit.c', 'fs.write'], run },
  { name: 'receive 60 B', peers: ['limit.c'], run },
  { name: 'idle', peers: [], run },
];

/** @param {string[]} works @param {string[]} [peers] */
const names = (works, peers = []) => chosen(all, { works, peers }).map(({ name }) => name);

describe('bench: works', () => {
  it('are those that a word names, all without one', () => {
    assert.deepEqual(names([]), ['transmit 60 B', 'receive 60 B', 'idle']);
    assert.deepEqual(names(['60', 'idle']), ['transmit 60 B', 'receive 60 B', 'idle']);
    assert.deepEqual(names(['receive']), ['receive 60 B']);
  });

  it('are those that have one of the peers named', () => {
    assert.deepEqual(names([], ['fs.']), ['transmit 60 B']);
    assert.deepEqual(names([], ['limit']), ['transmit 60 B', 'receive 60 B']);
  });

  it('refuses a word that chooses nothing, with what there is', () => {
    assert.throws(() => names(['transmit', 'sned']), UnknownWords);
    assert.throws(
      () => names(['sned']),
      /no work is named sned; there are: transmit 60 B; receive 60 B; idle/,
    );
    assert.throws(
      () => names(['receive'], ['fs.']),
      /no peer of these works is named fs\.; there are: limit\.c/,
    );
  });

  it('compares with the peers that are named, and not without any', () => {
    const entries = [{ name: 'ring', ours: true }, { name: 'limit.c' }, { name: 'fs.write' }];
    assert.deepEqual(
      wantedEntries(entries, ['fs.']).map(({ name }) => name),
      ['ring', 'fs.write'],
    );
    assert.deepEqual(wantedEntries(entries, ['bridge']), []);
  });
});
