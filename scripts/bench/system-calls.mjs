import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { threads } from './process-counters.mjs';
import { run } from './programs.mjs';

const TRACING = '/sys/kernel/tracing';
const TRIGGER = `${TRACING}/events/raw_syscalls/sys_enter/trigger`;
const HISTOGRAM = `${TRACING}/events/raw_syscalls/sys_enter/hist`;
const COUNT_BY_THREAD = 'hist:keys=common_pid:size=4096';

/**
 * Has the kernel count the system calls of every thread while something runs, for `threadCalls` to read. It costs a little
 * at each call, so it is no part of a timed turn.
 *
 * @template T
 * @param {() => Promise<T>} something
 * @returns {Promise<T | undefined>} undefined where the kernel cannot count
 */
export async function whileCounting(something) {
  if (!existsSync(TRIGGER)) await run('mount', '-t', 'tracefs', 'tracefs', TRACING).catch(() => {});
  try {
    writeFileSync(TRIGGER, COUNT_BY_THREAD);
  } catch {
    return undefined;
  }
  try {
    return await something();
  } finally {
    writeFileSync(TRIGGER, `!${COUNT_BY_THREAD}`);
  }
}

/**
 * System calls of a process by the name of its threads, since counting began.
 *
 * @param {number} pid
 * @returns {Map<string, number>}
 */
export function threadCalls(pid) {
  return callsByName(threads(pid, 'stat'), readFileSync(HISTOGRAM, 'utf8'));
}

/**
 * @param {Iterable<{task: string, name: string}>} all threads of a process
 * @param {string} histogram as the kernel prints it, of every thread of the machine
 * @returns {Map<string, number>}
 */
export function callsByName(all, histogram) {
  const names = new Map([...all].map(({ task, name }) => [task, name]));
  const calls = new Map();
  for (const [, task = '', hits] of histogram.matchAll(/common_pid:\s*(\d+)\s*\}\s*hitcount:\s*(\d+)/g)) {
    const name = names.get(task);
    if (name !== undefined) calls.set(name, (calls.get(name) ?? 0) + Number(hits));
  }
  return calls;
}
