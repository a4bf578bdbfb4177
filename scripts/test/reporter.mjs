import { appendFileSync } from 'node:fs';
import Mocha from 'mocha';

const { Runner, reporters } = Mocha;
const {
  EVENT_RUN_BEGIN,
  EVENT_RUN_END,
  EVENT_TEST_BEGIN,
  EVENT_TEST_FAIL,
  EVENT_TEST_PASS,
  EVENT_TEST_PENDING,
} = Runner.constants;

/** @typedef {import('./record.mjs').Entry} Entry */

/**
 * Prints as `spec` does and keeps a record beside it, line by line, so that a run that dies leaves what it had done.
 * The option `record` names the file.
 */
export default class RecordingReporter extends reporters.Spec {
  /**
   * @param {import('mocha').Runner} runner
   * @param {import('mocha').MochaOptions} options
   */
  constructor(runner, options) {
    super(runner, options);
    /** @type {string} */
    const file = options.reporterOptions.record;
    /** @param {Entry} entry */
    const write = (entry) => appendFileSync(file, `${JSON.stringify(entry)}\n`);
    /** @param {import('mocha').Runnable} runnable */
    const title = (runnable) => runnable.titlePath().join(' › ');
    runner.on(EVENT_RUN_BEGIN, () => write({ event: 'begin', total: runner.total }));
    runner.on(EVENT_TEST_BEGIN, (test) => write({ event: 'start', title: title(test) }));
    runner.on(EVENT_TEST_PASS, (test) => write({ event: 'pass', title: title(test) }));
    runner.on(EVENT_TEST_PENDING, (test) => write({ event: 'skip', title: title(test) }));
    runner.on(EVENT_TEST_FAIL, (test, error) => {
      // A hook is told of in the same way, although it is none of the tests.
      const event =
        /** @type {{type: string}} */ (/** @type {unknown} */ (test)).type === 'hook' ? 'hook' : 'fail';
      write({ event, title: title(test), why: String(error?.message ?? error) });
    });
    runner.on(EVENT_RUN_END, () => write({ event: 'end' }));
  }

  /**
   * A test that failed half-way may have left open what holds the process: this ends it, where a run that passed has to
   * end by itself.
   *
   * @override
   * @param {number} failures
   * @param {(failures: number) => void} [end]
   */
  done(failures, end) {
    end?.(failures);
    if (failures > 0) process.exit(1);
  }
}
