import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { VmError } from './errors.mjs';

/**
 * @typedef {object} Module
 * @property {string} name
 * @property {Buffer} data the module itself, decompressed
 * @property {string[]} needs names of the modules it needs
 * @property {string[]} aliases what the kernel calls it when it asks for it by itself; shell patterns
 */

/**
 * A module's name as the kernel writes it: without folder and suffix, dashes as underscores.
 *
 * @param {string} path
 * @returns {string}
 */
export function moduleName(path) {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

/**
 * What a module says of itself. A package that was only unpacked has no modules.dep (depmod writes that when the
 * package is installed), but every module carries the same facts as `key=value` strings.
 *
 * @param {Buffer} data a decompressed module
 * @param {string} key
 * @returns {string[]} the values, in order
 */
export function moduleInfo(data, key) {
  const mark = Buffer.from(`\0${key}=`);
  /** @type {string[]} */
  const values = [];
  for (let at = data.indexOf(mark); at >= 0; at = data.indexOf(mark, at + 1)) {
    const from = at + mark.length;
    values.push(data.toString('latin1', from, data.indexOf(0, from)));
  }
  return values;
}

/**
 * @param {string} path a .ko, or any file packed as .gz, .xz or .zst
 * @param {string} busybox the program that unpacks xz where no xz is installed
 * @returns {Promise<Buffer>}
 */
export async function decompressed(path, busybox) {
  if (path.endsWith('.ko')) return readFile(path);
  if (path.endsWith('.gz')) return gunzipSync(await readFile(path));
  const [program, ...args] = path.endsWith('.xz') ? [busybox, 'xz', '-dc', path] : ['zstd', '-dcq', path];
  try {
    const run = await promisify(execFile)(program ?? '', args, { encoding: 'buffer', maxBuffer: 1 << 28 });
    return run.stdout;
  } catch (cause) {
    throw new VmError(
      'ERR_VM_MODULE',
      `${path} cannot be unpacked; install its unpacker: apt-get install zstd`,
      { cause },
    );
  }
}

/**
 * Loads modules, and what they need, from a kernel's tree into memory.
 *
 * @param {string} tree the folder lib/modules/VERSION
 * @param {string[]} wanted
 * @param {string} busybox
 * @returns {Promise<{modules: Module[], missing: string[]}>} each after what it needs; names that this kernel has
 *   neither as a module nor built in
 */
export async function collectModules(tree, wanted, busybox) {
  const [files, builtinList] = await Promise.all([
    readdir(join(tree, 'kernel'), { recursive: true }),
    readFile(join(tree, 'modules.builtin'), 'utf8'),
  ]);
  const paths = new Map(
    files
      .filter((path) => /\.ko(\.\w+)?$/.test(path))
      .map((path) => [moduleName(path), join(tree, 'kernel', path)]),
  );
  const builtin = new Set(builtinList.split('\n').map(moduleName));
  return inOrder(wanted, builtin, async (name) => {
    const path = paths.get(name);
    return path === undefined ? undefined : decompressed(path, busybox);
  });
}

/**
 * @param {string[]} wanted
 * @param {Set<string>} builtin names that need no loading
 * @param {(name: string) => Promise<Buffer | undefined>} read
 * @returns {Promise<{modules: Module[], missing: string[]}>}
 */
export async function inOrder(wanted, builtin, read) {
  /** @type {Map<string, Module>} */
  const found = new Map();
  /** @type {Set<string>} */
  const missing = new Set();
  /** @type {Set<string>} */
  const visited = new Set();
  /** @param {string} name */
  const visit = async (name) => {
    if (visited.has(name) || builtin.has(name)) return;
    visited.add(name);
    const data = await read(name);
    if (!data) {
      missing.add(name);
      return;
    }
    const needs = moduleInfo(data, 'depends').join(',').split(',').filter(Boolean).map(moduleName);
    for (const need of needs) await visit(need);
    found.set(name, { name, data, needs, aliases: moduleInfo(data, 'alias') });
  };
  for (const name of wanted) await visit(moduleName(name));
  return { modules: [...found.values()], missing: [...missing] };
}
