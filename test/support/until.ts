import { setTimeout as sleep } from 'node:timers/promises';

/** Far beyond what the slowest emulated machine takes: it ends a test that would hang, and decides nothing else. */
export const DEADLINE = 60_000;

/** Looks again and again until `condition` holds; rejects, with what was waited for, where it never does. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  deadline = DEADLINE,
): Promise<void> {
  const end = Date.now() + deadline;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await sleep(5);
  }
}

/** Rejects, with what was waited for, where a promise settles too late to be believed. */
export async function within<T>(what: string, promise: Promise<T>, deadline = DEADLINE): Promise<T> {
  const late = new AbortController();
  const { signal } = late;
  try {
    return await Promise.race([
      promise,
      sleep(deadline, undefined, { signal }).then(() => {
        throw new Error(`waited in vain until ${what}`);
      }),
    ]);
  } finally {
    late.abort();
  }
}

/** One turn of the loop, in which whatever came in is delivered. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
