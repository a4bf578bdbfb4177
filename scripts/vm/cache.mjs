import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, VmError } from './errors.mjs';

/**
 * @param {Record<string, string | undefined>} [env]
 * @returns {string} the folder that keeps kernels and answers between runs, outside of every checkout
 */
export function cacheFolder(env = process.env) {
  const { XDG_CACHE_HOME: given, HOME: home } = env;
  const base = given?.startsWith('/') ? given : join(home || homedir(), '.cache');
  return join(base, 'vhost-net');
}

/**
 * Makes `path` once. What several runs build at the same time is built under names of their own and renamed at the
 * end, so that a reader sees nothing or the whole, and the first to finish wins.
 *
 * @param {string} path a file or folder in the cache
 * @param {(draft: string) => Promise<void>} build makes the file or folder `draft`
 */
export async function makeOnce(path, build) {
  if (await exists(path)) return;
  const draft = `${path}.${process.pid}-${randomBytes(4).toString('hex')}.draft`;
  try {
    await build(draft);
    await rename(draft, path);
  } catch (error) {
    // A folder cannot be renamed onto a filled one: another run was faster, and its result is as good.
    if (!['ENOTEMPTY', 'EEXIST'].includes(codeOf(error)) || !(await exists(path))) throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/**
 * @param {string} path
 * @returns {Promise<boolean>}
 */
export async function exists(path) {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/**
 * @param {number} pid
 * @returns {boolean} whether a process of this number runs
 */
export function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/**
 * Holds a lock of the cache while `work` runs: package managers, and long downloads, take one at a time. The lock
 * of a process that is gone is taken over.
 *
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @param {{patience?: number, onWait?: () => void}} [options] milliseconds to wait at most; told once when it waits
 * @returns {Promise<T>}
 */
export async function withLock(name, work, { patience = 600_000, onWait } = {}) {
  await mkdir(cacheFolder(), { recursive: true });
  const path = join(cacheFolder(), `${name}.lock`);
  const deadline = Date.now() + patience;
  for (let waits = 0; !(await take(path)); waits += 1) {
    if (waits === 0) onWait?.();
    if (Date.now() > deadline) {
      throw new VmError(
        'ERR_VM_LOCKED',
        `another run holds ${path} for too long; if none is alive: rm ${path}`,
      );
    }
    await sleep(200);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

/**
 * @param {string} path
 * @returns {Promise<boolean>} whether the lock is ours now
 */
async function take(path) {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(String(process.pid));
    await file.close();
    return true;
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  const owner = await readFile(path, 'utf8').catch(() => '');
  const age = await stat(path).then(
    (found) => Date.now() - found.mtimeMs,
    () => 0,
  );
  // An empty lock is one whose owner stands between creating and writing it, unless it stays so.
  const abandoned = owner === '' ? age > 5000 : !isAlive(Number(owner));
  if (abandoned) {
    // Renaming first lets one of several waiters take it away, never the fresh lock that the next one made.
    const aside = `${path}.${randomBytes(4).toString('hex')}`;
    await rename(path, aside).catch(() => {});
    await rm(aside, { force: true });
  }
  return false;
}
