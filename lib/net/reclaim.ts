import { checkWaitOptions, type WaitOptions } from '../completion/waiters.js';
import { checkInteger, wrongValue } from '../errors/check.js';
import type { PairTraffic } from './pair-traffic.js';

export interface ReclaimOptions extends WaitOptions {
  /** Milliseconds that the device has to return what is in flight. */
  readonly deadline: number;
  /**
   * What becomes of frames that the device has not even taken: 'keep', the default, leaves them posted; 'abandon' is for a
   * device that cannot get past the first of them.
   */
  readonly untaken?: 'keep' | 'abandon';
}

/** What was taken back from a device. */
export interface Reclaimed {
  /** Frames and receive buffers that it had taken and never returned. */
  readonly lost: number;
  /** Frames that were settled as abandoned. */
  readonly abandoned: number;
}

/**
 * Waits until every frame that is in flight now is settled, and every receive buffer returned that a device has taken by
 * now, at most until the deadline; whether that is so.
 */
export async function settledInTime(
  traffic: readonly PairTraffic[],
  options: ReclaimOptions,
): Promise<boolean> {
  checkWaitOptions(options, ['deadline', 'untaken', 'signal']);
  const { untaken = 'keep', signal } = options;
  const deadline = checkInteger('deadline', options.deadline, 0, 2 ** 31 - 1);
  if (untaken !== 'keep' && untaken !== 'abandon')
    throw wrongValue('untaken', "'keep' or 'abandon'", untaken);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), deadline);
  const end = signal === undefined ? late.signal : AbortSignal.any([late.signal, signal]);
  try {
    await Promise.all(traffic.map((each) => each.settled({ signal: end })));
    return true;
  } catch (error) {
    if (error !== late.signal.reason) throw error;
    return false;
  } finally {
    clearTimeout(timer);
  }
}
