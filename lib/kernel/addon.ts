import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VhostError } from '../errors/errors.js';
import type { Kernel } from './kernel.js';

/** What `native/` exports: every surface that needs more than Node offers. */
export type NativeAddon = Omit<Kernel, 'files'>;

interface Attempt {
  readonly path: string;
  readonly reason: string;
}

/** The folder of this package's package.json: above this file wherever it was compiled to. */
function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) return start;
  }
}

/** The C library that this Node is linked against; a prebuilt addon must have the same. */
function libc(): 'glibc' | 'musl' {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
}

/** Where the addon may lie, best first. One that VHOST_NET_ADDON names is meant, so nothing replaces it. */
function candidates(root: string): string[] {
  const { VHOST_NET_ADDON: named } = process.env;
  if (named !== undefined && named !== '') return [resolve(named)];
  return [
    join(root, 'prebuilds', `linux-${process.arch}-${libc()}`, 'vhost_net.node'),
    join(root, 'build', 'Release', 'vhost_net.node'),
  ];
}

function explain(attempts: readonly Attempt[], root: string): string {
  const lines = attempts.map(({ path, reason }) => `  ${path}: ${reason}`);
  return [
    'the native addon could not be loaded; tried',
    ...lines,
    'To build it (needs a C++17 compiler, make and python3):',
    `  cd ${root} && npx node-gyp rebuild`,
  ].join('\n');
}

/**
 * Loads the addon. Throws ERR_VHOST_ADDON, which lists what was tried and why it failed; its `cause` is the
 * last failure of a file that is there.
 */
export function loadAddon(): NativeAddon {
  const root = packageRoot();
  const require = createRequire(import.meta.url);
  const attempts: Attempt[] = [];
  let cause: unknown;
  for (const path of candidates(root)) {
    if (!existsSync(path)) {
      attempts.push({ path, reason: 'no such file' });
      continue;
    }
    try {
      return require(path) as NativeAddon;
    } catch (error) {
      cause = error;
      attempts.push({ path, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  throw new VhostError('ERR_VHOST_ADDON', explain(attempts, root), { cause });
}
