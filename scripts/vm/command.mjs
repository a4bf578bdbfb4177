import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { cpio, file } from './cpio.mjs';
import { completePath } from './programs.mjs';

/**
 * @typedef {object} Errand what init.sh is to do in one run
 * @property {string} command
 * @property {string[]} args
 * @property {string} cwd
 * @property {Record<string, string | undefined>} env
 * @property {string[]} writable folders that are the host's own inside
 * @property {string[]} shown folders that must be seen inside wherever they are
 * @property {boolean} overlay whether all else may be written, in memory
 * @property {boolean} zerocopy
 * @property {number} hugepages
 * @property {boolean} stdin whether the command gets an input
 * @property {{rows: number, columns: number} | undefined} terminal
 */

// Meant for this very process and its children: file descriptors that do not exist inside.
const NOT_PASSED = new Set(['NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE']);

// What a program writes to even where nothing else can be written.
const TEMPORARY = ['/tmp', '/var/tmp'];

/**
 * @param {string} text
 * @returns {string} the same as one word of a POSIX shell, whatever it holds
 */
export function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * @param {Record<string, string | undefined>} env
 * @param {string} cwd
 * @returns {Record<string, string>} what the command gets inside
 */
export function environmentInside(env, cwd) {
  /** @type {Record<string, string>} */
  const inside = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !NOT_PASSED.has(name)) inside[name] = value;
  }
  const { PATH: path } = inside;
  return { ...inside, PATH: completePath(path), PWD: cwd, VHOST_VM: '1' };
}

/** @returns {Buffer} what no program prints, and what begins with a byte that ordinary output lacks */
export function makeMark() {
  return Buffer.concat([Buffer.from([0]), Buffer.from(randomBytes(15).toString('hex'))]);
}

/**
 * @param {Errand} errand
 * @returns {string} the script that becomes the command
 */
export function commandScript({ command, args, cwd, env }) {
  const variables = Object.entries(environmentInside(env, cwd)).map(([name, value]) =>
    quote(`${name}=${value}`),
  );
  return [
    'echo $$ >/pid',
    // Both programs by their path: the environment that they set up is not theirs.
    `exec /bin/busybox env -i \\\n${variables.join(' \\\n')} \\\n/bin/busybox chroot . /usr/bin/env ${[
      '-C',
      cwd,
      '--',
      command,
      ...args,
    ]
      .map(quote)
      .join(' ')}`,
    '',
  ].join('\n');
}

/**
 * @param {Errand} errand
 * @param {Buffer} mark
 * @returns {Buffer} the archive that follows the kept one
 */
export function errandArchive(errand, mark) {
  const settings = {
    proof: 0,
    overlay: errand.overlay ? 1 : 0,
    zerocopy: errand.zerocopy ? 1 : 0,
    hugepages: errand.hugepages,
    hostname: hostname(),
    stdin: errand.stdin ? 1 : 0,
    terminal: errand.terminal ? 1 : 0,
    rows: errand.terminal?.rows ?? 0,
    columns: errand.terminal?.columns ?? 0,
    keep_run: [errand.cwd, ...errand.writable].some((path) => path.startsWith('/run/')) ? 1 : 0,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${quote(String(value))}\n`);
  const list = (/** @type {string[]} */ paths) => paths.map((path) => `${path}\n`).join('');
  const temporary = TEMPORARY.filter((folder) => !errand.shown.includes(folder));
  return cpio([
    file('settings', lines.join('')),
    file('paths', list(errand.writable)),
    file('temporary', list(temporary)),
    file(
      'shown',
      list(errand.shown.filter((path) => temporary.some((folder) => path.startsWith(`${folder}/`)))),
    ),
    file('command', commandScript(errand)),
    file('mark', mark),
  ]);
}

/** @returns {Buffer} the archive with which a VM only says that it has started */
export function proofArchive() {
  return cpio([file('settings', 'proof=1\nzerocopy=0\n')]);
}
