import { readdirSync, readFileSync } from 'node:fs';

/** `sysconf(_SC_CLK_TCK)`, which Linux has fixed for programs. */
const TICKS = 100;

/**
 * The threads of a process, by the number of each; those are left out that end meanwhile. The kernel's worker is a thread
 * of the process that owns the device.
 *
 * @param {number} pid
 * @param {string} file of each, in its folder of proc(5)
 */
export function* threads(pid, file) {
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const stat = read(`/proc/${pid}/task/${task}/stat`);
    const text = read(`/proc/${pid}/task/${task}/${file}`);
    const name = threadName(stat);
    if (name !== undefined && text !== '') yield { task, name, text };
  }
}

/**
 * Processor time of a process by the name of its threads; threads of one name are added up.
 *
 * @param {number} pid
 * @returns {Map<string, number>} seconds
 */
export function threadTimes(pid) {
  const times = new Map();
  for (const { name, text } of threads(pid, 'stat')) {
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const seconds = (Number(fields[11]) + Number(fields[12])) / TICKS;
    times.set(name, (times.get(name) ?? 0) + seconds);
  }
  return times;
}

/**
 * How often the threads of a process have gone to sleep of their own accord, and how long they ran, to the nanosecond.
 *
 * @param {number} pid
 */
export function activity(pid) {
  let wakeups = 0;
  let seconds = 0;
  for (const { text } of threads(pid, 'status'))
    wakeups += Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(text)?.[1] ?? 0);
  for (const { text } of threads(pid, 'schedstat')) seconds += Number(text.split(' ')[0]) / 1e9;
  return { wakeups, seconds };
}

/** What each thread is at, for a message. @param {number} pid */
export function threadStates(pid) {
  return [...threads(pid, 'stat')].map(({ text }) => text.split(' ').slice(1, 3).join(' ')).join(', ');
}

/** @param {string} stat of a thread */
export function threadName(stat) {
  const name = /\((.*)\)/.exec(stat)?.[1];
  return name?.startsWith('vhost-') ? 'vhost worker' : name;
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The thread ended since it was listed.
    return '';
  }
}
