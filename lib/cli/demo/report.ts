import { table } from '../table.js';
import { type DemoResult, type PingRun, shortcomings } from './measure.js';

/** The result as a person reads it. */
export function report(result: DemoResult): string {
  const { device, kernel, where, ledger, pings, transmit, receive } = result;
  const problems = shortcomings(result);
  return [
    `${device === 'worker' ? "This package's worker on" : `${device} of`} Linux ${kernel}` +
      `${where === 'vm' ? ' in a virtual machine' : ''}, tap ${result.interface}`,
    '',
    table(
      [
        ['', 'pings', 'answered', 'lost', 'p50', 'p99'],
        ['one by one', ...pingCells(pings.paced)],
        ['flood', ...pingCells(pings.flood)],
      ],
      [1, 2, 3, 4, 5],
    ),
    table(
      [
        ['', 'received', 'sent'],
        ['frames', count(receive.frames), count(transmit.frames)],
        ['completed', '', count(ledger.completed)],
        ['in flight', '', count(ledger.inFlight)],
        ['lost', '', count(ledger.abandoned)],
        ['kicks', count(receive.kicks), count(transmit.kicks)],
        ['calls', count(receive.calls), count(transmit.calls)],
      ],
      [1, 2],
    ),
    problems.length === 0
      ? 'Every ping was answered and every frame is accounted for.'
      : `Failed: ${problems.join('; ')}.`,
    '',
  ].join('\n');
}

function pingCells({ sent, answered, roundTrip: { p50, p99 } }: PingRun): string[] {
  return [count(sent), count(answered), count(sent - answered), time(p50), time(p99)];
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function time(milliseconds: number | undefined): string {
  return milliseconds === undefined ? '–' : `${milliseconds.toFixed(2)} ms`;
}
