import assert from 'node:assert/strict';
import { type DemoResult, shortcomings } from '../../../lib/cli/demo/measure.js';
import { report } from '../../../lib/cli/demo/report.js';

const result: DemoResult = {
  device: '/dev/vhost-net',
  kernel: '6.12.0',
  where: 'vm',
  interface: 'vhost0',
  pings: {
    asked: 2020,
    sent: 2020,
    answered: 2020,
    paced: { sent: 20, answered: 20, roundTrip: { p50: 1.92, p99: 13.24 } },
    flood: { sent: 2000, answered: 2000, roundTrip: { p50: 0.5, p99: 110 } },
  },
  ledger: { submitted: 2021, completed: 2021, abandoned: 0, inFlight: 0 },
  transmit: { frames: 2021, kicks: 1813, calls: 560 },
  receive: { frames: 2021, kicks: 1, calls: 1388 },
};

describe("the demo's result", () => {
  it('is well where every ping was answered and the ledger is exact', () => {
    assert.deepEqual(shortcomings(result), []);
    assert.equal(
      report(result),
      `/dev/vhost-net of Linux 6.12.0 in a virtual machine, tap vhost0

            pings  answered  lost      p50        p99
one by one     20        20     0  1.92 ms   13.24 ms
flood       2,000     2,000     0  0.50 ms  110.00 ms

           received   sent
frames        2,021  2,021
completed            2,021
in flight                0
lost                     0
kicks             1  1,813
calls         1,388    560

Every ping was answered and every frame is accounted for.
`,
    );
  });

  it('names the device that it was', () => {
    const [title] = report({ ...result, device: 'worker', where: 'host' }).split('\n', 1);
    assert.equal(title, "This package's worker on Linux 6.12.0, tap vhost0");
  });

  const flawed: Record<string, Partial<DemoResult>> = {
    'pings not answered: 3': { pings: { ...result.pings, answered: 2017 } },
    'ping sent 2000 of 2020 before its time was over': {
      pings: { ...result.pings, sent: 2000, answered: 2000 },
    },
    'frames still in flight: 1': { ledger: { ...result.ledger, completed: 2020, inFlight: 1 } },
    'frames lost: 1': { ledger: { ...result.ledger, completed: 2020, abandoned: 1 } },
    'the ledger does not add up': { ledger: { ...result.ledger, completed: 2020 } },
  };
  for (const [problem, difference] of Object.entries(flawed))
    it(`says so where ${problem}`, () => {
      const bad = { ...result, ...difference };
      assert.deepEqual(shortcomings(bad), [problem]);
      assert.match(report(bad), new RegExp(`\nFailed: ${problem}\\.\n$`));
    });
});
