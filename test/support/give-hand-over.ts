import assert from 'node:assert/strict';
import type { HandOver } from '../../lib/index.js';
import { until } from './until.js';

/** Gives to a process that is about to listen at a path. */
export function giveHandOver(handOver: HandOver, path: string): Promise<void> {
  return until('the next process takes it', () =>
    handOver.give(path).then(
      () => true,
      (error: { code?: string }) => {
        assert.match(error.code!, /^(ENOENT|ECONNREFUSED)$/);
        return false;
      },
    ),
  );
}
