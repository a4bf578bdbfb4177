import { readdirSync, readFileSync } from 'node:fs';

/** `sysconf(_SC_CLK_TCK)`, which Linux has fixed for programs. */
const TICKS = 100;

/**
 * Processor time of a process by the name of its threads; threads of one name are added up. The kernel's worker is a
 * thread of the process that owns the device.
 *
 * @param {number} pid
 * @returns {Map<string, number>} seconds
 */
export function threadTimes(pid) {
  const times = new Map();
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const text = read(`/proc/${pid}/task/${task}/stat`);
    const name = threadName(text);
    if (name === undefined) continue;
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const seconds = (Number(fields[11]) + Number(fields[12])) / TICKS;
    times.set(name, (times.get(name) ?? 0) + seconds);
  }
  return times;
}

/**
 * How often the threads of a process have gone to sleep of their own accord.
 *
 * @param {number} pid
 */
export function sleeps(pid) {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const found = /^voluntary_ctxt_switches:\s*(\d+)/m.exec(read(`/proc/${pid}/task/${task}/status`));
    total += Number(found?.[1] ?? 0);
  }
  return total;
}

/** What each thread is at, for a message. @param {number} pid */
export function threadStates(pid) {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => read(`/proc/${pid}/task/${task}/stat`).split(' ').slice(1, 3).join(' '))
    .join(', ');
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
