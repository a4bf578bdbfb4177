import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeOnce, withLock } from './cache.mjs';
import { VmError } from './errors.mjs';
import { capture, findProgram } from './programs.mjs';

/** @typedef {(message: string) => void} Say tells a person what is under way */

/** Programs whose package has another name. */
const PACKAGES = new Map(
  Object.entries({
    arping: 'iputils-arping',
    bridge: 'iproute2',
    cc: 'gcc',
    'dpdk-testpmd': 'dpdk-dev',
    ifconfig: 'net-tools',
    insmod: 'kmod',
    ip: 'iproute2',
    lsmod: 'kmod',
    modprobe: 'kmod',
    nc: 'netcat-openbsd',
    nft: 'nftables',
    ping: 'iputils-ping',
    'qemu-system-x86_64': 'qemu-system-x86',
    ss: 'iproute2',
    sysctl: 'procps',
    tc: 'iproute2',
    tracepath: 'iputils-tracepath',
  }),
);

/**
 * @param {string} program
 * @returns {string} the Debian package that brings it
 */
export function packageOf(program) {
  return PACKAGES.get(program) ?? program;
}

/** @param {string} name of a package @returns {Promise<boolean>} whether the package lists have it */
export async function isKnown(name) {
  const { stdout } = await capture('apt-cache', ['policy', name]).catch(noApt);
  return /Candidate: (?!\(none\))/.test(stdout);
}

/**
 * @param {unknown} cause
 * @returns {never}
 */
function noApt(cause) {
  throw new VmError(
    'ERR_VM_NO_APT',
    'this machine has no apt-get; a VM can be built on Debian and Ubuntu alone. Elsewhere, load the real device: ' +
      'sudo modprobe vhost_net',
    { cause },
  );
}

/**
 * @param {string[]} args of apt-get
 * @param {string} mend what a person can do when it fails
 * @param {string} [cwd]
 */
async function aptGet(args, mend, cwd) {
  // Another package manager may hold dpkg's own lock for a while; with no terminal nothing can be asked.
  const options = ['-qq', '-y', '-o', 'DPkg::Lock::Timeout=300'];
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const run = await capture('apt-get', [...options, ...args], cwd ? { env, cwd } : { env }).catch(noApt);
  if (run.status === 0) return;
  const why = run.stderr.trim().split('\n').slice(-4).join('\n');
  throw new VmError('ERR_VM_PACKAGE', `apt-get ${args.join(' ')} failed; try: ${mend}\n${why}`);
}

/**
 * @param {string[]} names of which at least one must be known
 * @param {Say} say
 * @returns {Promise<string[]>} those known to apt
 */
async function known(names, say) {
  const look = async () => {
    const answers = await Promise.all(names.map(isKnown));
    return names.filter((_, index) => answers[index]);
  };
  const found = await look();
  // A fresh container image comes without package lists.
  return found.length === 0 && (await updateLists(say)) ? look() : found;
}

/**
 * Fetches the package lists, where this user may.
 *
 * @param {Say} say
 * @returns {Promise<boolean>} whether they are fresh
 */
export async function updateLists(say) {
  if (process.getuid?.() !== 0) return false;
  say('updating the package lists');
  await aptGet(['update'], 'apt-get update');
  return true;
}

/**
 * Downloads a package and unpacks it into a folder of the cache. Needs no root and installs nothing.
 *
 * @param {string} name
 * @param {string} target the folder to make
 * @param {Say} say
 */
export async function unpackPackage(name, target, say) {
  await makeOnce(target, async (draft) => {
    const downloads = `${draft}.deb`;
    await mkdir(downloads, { recursive: true });
    try {
      say(`fetching ${name}`);
      const mend = 'sudo apt-get update';
      await aptGet(['download', name], mend, downloads).catch(async (error) => {
        if (process.getuid?.() !== 0) throw error;
        // The lists may name a version that the archive has replaced since.
        await aptGet(['update'], mend);
        await aptGet(['download', name], mend, downloads);
      });
      const [archive] = (await readdir(downloads)).filter((entry) => entry.endsWith('.deb'));
      say(`unpacking ${name}`);
      const run = await capture('dpkg', ['-x', join(downloads, archive ?? ''), draft]);
      if (run.status !== 0)
        throw new VmError('ERR_VM_PACKAGE', `${name} cannot be unpacked: ${run.stderr.trim()}`);
    } finally {
      await rm(downloads, { recursive: true, force: true });
    }
  });
}

/**
 * The package that a package of versions stands for today: `linux-image-cloud-amd64` needs one certain
 * `linux-image-6.1.0-…`.
 *
 * @param {string[]} names tried in this order
 * @param {RegExp} pattern what the needed package's name must match
 * @param {Say} say
 * @returns {Promise<string | undefined>}
 */
export async function resolvePackage(names, pattern, say) {
  for (const name of await known(names, say)) {
    const { stdout } = await capture('apt-cache', ['depends', '--important', name]);
    const needed = [...stdout.matchAll(/^\s*\|?Depends: (\S+)$/gm)].map((match) => match[1] ?? '');
    const found = needed.find((candidate) => pattern.test(candidate));
    if (found) return found;
  }
  return undefined;
}

/**
 * Refuses what this user may not install, naming the command that does.
 *
 * @param {readonly string[]} programs names
 */
export async function refuseMissing(programs) {
  const missing = await missingPackages(programs);
  if (missing.length === 0 || process.getuid?.() === 0) return;
  throw new VmError(
    'ERR_VM_PACKAGE',
    `missing on this machine: ${missing.join(', ')}. Run: sudo sh -c 'apt-get update && ${installing(missing)}'`,
  );
}

/** @param {string[]} packages */
function installing(packages) {
  return `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
}

/**
 * Sees to it that programs are installed: as root by installing their packages, otherwise by naming the command.
 *
 * @param {readonly string[]} programs names
 * @param {Say} say
 */
export async function needPrograms(programs, say) {
  await refuseMissing(programs);
  if ((await missingPackages(programs)).length === 0) return;
  await withLock(
    'apt',
    async () => {
      const still = await missingPackages(programs);
      if (still.length === 0) return;
      if ((await known(still, say)).length < still.length) {
        // Lists that are missing altogether are updated by now; old ones may lack one package.
        await aptGet(['update'], 'apt-get update');
        await refuseUnknown(still, say);
      }
      say(`installing ${still.join(' ')}`);
      await aptGet(['install', '--no-install-recommends', ...still], installing(still));
    },
    { onWait: () => say('waiting for another run that installs packages') },
  );
}

/**
 * @param {string[]} names
 * @param {Say} say
 */
async function refuseUnknown(names, say) {
  const there = await known(names, say);
  const absent = names.filter((name) => !there.includes(name));
  if (absent.length === 0) return;
  throw new VmError(
    'ERR_VM_PACKAGE',
    `apt knows no package ${absent.join(', ')}; install what brings the program, and leave out its --need`,
  );
}

/** @param {readonly string[]} programs */
async function missingPackages(programs) {
  const places = await Promise.all(programs.map((name) => findProgram(name)));
  return [...new Set(programs.filter((_, index) => !places[index]).map(packageOf))];
}
