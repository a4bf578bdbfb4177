import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { threadName } from './process-counters.mjs';
import { run } from './programs.mjs';

const TRACING = '/sys/kernel/tracing';
const TRIGGER = `${TRACING}/events/raw_syscalls/sys_enter/trigger`;
const HISTOGRAM = `${TRACING}/events/raw_syscalls/sys_enter/hist`;
const COUNT_BY_THREAD = 'hist:keys=common_pid:size=4096';

/**
 * Has the kernel count the system calls of every thread while something runs. It costs a little at each call, so it is
 * no part of a timed turn.
 *
 * @param {number} pid of the process that is asked about
 * @param {() => Promise<void>} something
 * @returns {Promise<Record<string, number> | undefined>} calls by thread name; undefined where the kernel cannot count
 */
export async function countCalls(pid, something) {
  if (!existsSync(TRIGGER)) await run('mount', '-t', 'tracefs', 'tracefs', TRACING).catch(() => {});
  try {
    writeFileSync(TRIGGER, COUNT_BY_THREAD);
  } catch {
    await something();
    return undefined;
  }
  try {
    await something();
    return byThread(pid, readFileSync(HISTOGRAM, 'utf8'));
  } finally {
    writeFileSync(TRIGGER, `!${COUNT_BY_THREAD}`);
  }
}

/** @param {number} pid @param {string} histogram */
function byThread(pid, histogram) {
  /** @type {Record<string, number>} */
  const calls = {};
  const tasks = new Set(readdirSync(`/proc/${pid}/task`));
  for (const [, task = '', hits] of histogram.matchAll(/common_pid:\s*(\d+)\s*\}\s*hitcount:\s*(\d+)/g)) {
    if (!tasks.has(task)) continue;
    const name = threadName(readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8')) ?? task;
    calls[name] = (calls[name] ?? 0) + Number(hits);
  }
  return calls;
}
