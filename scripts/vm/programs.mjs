import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';

// A plain user's PATH on Debian lacks these, yet what a network program needs lives there.
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * @param {string | undefined} path the variable PATH
 * @returns {string} the same with the system's folders at its end
 */
export function completePath(path) {
  const folders = (path ?? '').split(':').filter(Boolean);
  return [...folders, ...SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder))].join(':');
}

/**
 * @param {string} name a program's name or absolute path
 * @returns {Promise<string | undefined>} where it is
 */
export async function findProgram(name) {
  const { PATH: path } = process.env;
  const places = name.startsWith('/')
    ? [name]
    : completePath(path)
        .split(':')
        .map((folder) => join(folder, name));
  for (const place of places) {
    const runs = await access(place, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs && (await stat(place)).isFile()) return place;
  }
  return undefined;
}

/**
 * Runs a program to its end and keeps what it says.
 *
 * @param {string} program
 * @param {string[]} args
 * @param {{cwd?: string, env?: Record<string, string | undefined>, signal?: AbortSignal | undefined}} [options]
 * @returns {Promise<{status: number | null, stdout: string, stderr: string}>} never rejects for a status
 */
export function capture(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    /** @type {Buffer[]} */
    const stdout = [];
    /** @type {Buffer[]} */
    const stderr = [];
    child.stdout.on('data', (chunk) => stdout.push(chunk));
    child.stderr.on('data', (chunk) => stderr.push(chunk));
    child.on('error', reject);
    child.on('close', (status) =>
      resolve({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }),
    );
  });
}
