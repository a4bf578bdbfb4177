// Brings a checkout to where its programs run: packages, native addon, compiled TypeScript, each only if it is stale.
// Uses nothing but Node, for it is what installs the rest. `node scripts/setup.mjs` does this alone.
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from './vm/cache.mjs';
import { needPrograms, refuseMissing } from './vm/packages.mjs';
import { capture } from './vm/programs.mjs';

/** @typedef {(message: string) => void} Say */

/** The folder of the checkout. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

const ADDON = 'build/Release/vhost_net.node';
const NATIVE_SOURCES = ['native', 'binding.gyp'];
const COMPILED = 'dist/lib/index.js';
const TYPESCRIPT_SOURCES = [
  'lib',
  'test',
  'examples',
  'scripts',
  'tsconfig.json',
  'package.json',
  'package-lock.json',
];

/** A step that failed, with what its program said last. */
export class SetupError extends Error {}

/** @param {string} message */
function sayOnStderr(message) {
  process.stderr.write(`setup: ${message}\n`);
}

/**
 * Does what is to be done before anything of this package can run.
 *
 * @param {Say} [say]
 * @param {readonly string[]} [programs] that the caller needs besides, so that all that is missing is installed, or told, at
 *   once
 */
export async function setUp(say = sayOnStderr, programs = []) {
  const name = `setup-${createHash('sha256').update(ROOT).digest('hex').slice(0, 16)}`;
  // Two runs in one checkout would write the same files.
  await withLock(
    name,
    async () => {
      const addonIsStale = isStale(ADDON, NATIVE_SOURCES, /./);
      const tools = addonIsStale ? ['g++', 'make', 'python3'] : [];
      await refuseMissing([...tools, ...programs]);
      await needPrograms(tools, say);
      // Nothing that is built here uses those programs, which take as long to install as it takes to build.
      await together(needPrograms(programs, say), build(addonIsStale, say));
      await import('./link-command.mjs');
    },
    { onWait: () => say('waiting for another run in this checkout') },
  );
}

/**
 * @param {boolean} addonIsStale
 * @param {Say} say
 */
async function build(addonIsStale, say) {
  if (!packagesAreCurrent()) await timed(say, 'installing packages', installPackages);
  const compiledIsStale = isStale(COMPILED, TYPESCRIPT_SOURCES, /\.(ts|json)$/);
  await together(
    addonIsStale ? timed(say, 'building the addon', buildAddon) : undefined,
    compiledIsStale ? timed(say, 'compiling TypeScript', compile) : undefined,
  );
}

/**
 * Waits until all have ended, lest one goes on in a checkout that is given up; then fails as the first that failed.
 *
 * @param {(Promise<void> | undefined)[]} works
 */
async function together(...works) {
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason;
}

/**
 * @param {Say} say
 * @param {string} what
 * @param {() => Promise<void>} work
 */
async function timed(say, what, work) {
  const started = Date.now();
  say(`${what} …`);
  await work();
  say(`${what}: ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** Whether what is installed is what the lock file names, whoever installed it and when. */
function packagesAreCurrent() {
  const installed = readPackages('node_modules/.package-lock.json');
  const wanted = readPackages('package-lock.json');
  if (installed === undefined || wanted === undefined) return false;
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    // An optional package may be meant for another kind of machine.
    return path in installed ? installed[path]?.version === version : optional === true;
  });
}

/**
 * @param {string} file a lock file of npm
 * @returns {Record<string, {version?: string, optional?: boolean}> | undefined}
 */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(join(ROOT, file), 'utf8')).packages;
  } catch {
    return undefined;
  }
}

function installPackages() {
  // The package's own scripts would build what the next steps build, and say less of it.
  return run('npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund');
}

async function buildAddon() {
  const started = new Date();
  // By npm, which knows from its configuration where Node's headers are; node-gyp takes JOBS from the environment.
  await run('npm', 'run', 'build:native');
  utimesSync(join(ROOT, ADDON), started, started);
}

async function compile() {
  const started = new Date();
  await run('node_modules/.bin/tsc', '-p', 'tsconfig.json');
  pruneCompiled();
  utimesSync(join(ROOT, COMPILED), started, started);
}

/** Removes what was compiled from files that are gone, lest old tests go on being run. */
function pruneCompiled() {
  for (const path of readdirSync(join(ROOT, 'dist'), { recursive: true, encoding: 'utf8' })) {
    const source = /^(.*?)(\.d)?\.(js|ts|js\.map)$/.exec(path)?.[1];
    if (source !== undefined && !existsSync(join(ROOT, `${source}.ts`))) rmSync(join(ROOT, 'dist', path));
  }
}

/**
 * Runs a program in the checkout; what it says matters only if it fails.
 *
 * @param {string} program
 * @param {string[]} args
 */
async function run(program, ...args) {
  const { status, stdout, stderr } = await capture(program, args, {
    cwd: ROOT,
    env: { JOBS: 'max', ...process.env },
  });
  if (status === 0) return;
  const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-40).join('\n');
  throw new SetupError(`${[program, ...args].join(' ')} failed in ${ROOT}\n${said}`);
}

/**
 * Whether a product is missing or older than one of its sources. A folder counts too: its time tells of files that
 * came and went.
 *
 * @param {string} product
 * @param {string[]} sources files and folders
 * @param {RegExp} pattern of the names of the files that matter
 */
function isStale(product, sources, pattern) {
  const made = join(ROOT, product);
  if (!existsSync(made)) return true;
  const { mtimeMs } = lstatSync(made);
  return sources.some((source) => newest(join(ROOT, source), pattern) > mtimeMs);
}

/**
 * @param {string} path a file or folder
 * @param {RegExp} pattern
 * @returns {number} the latest time of a change in it; 0 where there is none
 */
function newest(path, pattern) {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 0;
  if (!found.isDirectory()) return pattern.test(path) ? found.mtimeMs : 0;
  return Math.max(found.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name), pattern)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await setUp();
  } catch (error) {
    sayOnStderr(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
