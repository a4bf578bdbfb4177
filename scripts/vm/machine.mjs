import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive } from './cache.mjs';
import { errandArchive, makeMark } from './command.mjs';
import { converse } from './conversation.mjs';
import { codeOf, VmError } from './errors.mjs';
import { listenPort } from './ports.mjs';
import { qemuArguments } from './qemu.mjs';
import { shareFiles } from './share.mjs';
import { supervise } from './supervise.mjs';

/** @typedef {import('./conversation.mjs').Outcome} Outcome */
/** @typedef {import('./conversation.mjs').Streams} Streams */
/** @typedef {import('./supervise.mjs').Supervised} Supervised */
/**
 * @typedef {object} Boot
 * @property {import('./kernel.mjs').Kernel} kernel
 * @property {string} initrd
 * @property {'kvm' | 'tcg'} accel
 * @property {number} cpus
 * @property {boolean} [parallel] emulated CPUs run at the same time
 * @property {number} memory in MiB
 * @property {string} qemu the program
 * @property {import('./share.mjs').FileServer} server
 * @property {import('./packages.mjs').Say} say
 */

const PREFIX = 'vhost-net-';

/** @returns {Promise<string>} a new folder for one run; its name tells whose it is */
export async function makeRunFolder() {
  // A socket's path must be short, and a temporary folder may be long. The share's namespace has a /run of its own.
  const parent = tmpdir().length < 60 && !tmpdir().startsWith('/run') ? tmpdir() : '/tmp';
  return realpath(await mkdtemp(join(parent, `${PREFIX}${process.pid}-`)));
}

/**
 * Removes the folders of runs that were killed.
 *
 * @returns {Promise<number>} how many other runs are alive
 */
export async function sweepRunFolders() {
  let alive = 0;
  for (const parent of new Set([tmpdir(), '/tmp'])) {
    for (const name of await readdir(parent).catch(() => [])) {
      const owner = name.startsWith(PREFIX) ? /^(\d+)-/.exec(name.slice(PREFIX.length))?.[1] : undefined;
      if (!owner) continue;
      if (isAlive(Number(owner))) alive += 1;
      else await rm(join(parent, name), { recursive: true, force: true }).catch(() => {});
    }
  }
  return alive;
}

/**
 * @typedef {object} Run
 * @property {string} folder of its own
 * @property {number} timeout in seconds
 * @property {AbortSignal | undefined} signal
 */

/**
 * Boots a VM for one command, and takes it away again.
 *
 * @param {Boot} boot
 * @param {import('./command.mjs').Errand} errand
 * @param {Streams} streams
 * @param {Run} run
 * @returns {Promise<Outcome>}
 */
export async function runMachine(boot, errand, streams, run) {
  // QEMU that emulates several CPUs may execute code while the kernel patches it (jump labels, at the end of a boot),
  // which ends in a panic or in silence. The command has not begun by then.
  const boots = boot.accel === 'tcg' ? 3 : 1;
  for (let left = boots - 1; ; left -= 1) {
    const folder = await mkdtemp(join(run.folder, 'boot-'));
    try {
      return await bootMachine(boot, errand, streams, { ...run, folder });
    } catch (error) {
      if (codeOf(error) !== 'ERR_VM_START' || left === 0 || run.signal?.aborted) throw error;
      boot.say('it did not start; trying again');
    }
  }
}

/**
 * @param {Boot} boot
 * @param {import('./command.mjs').Errand} errand
 * @param {Streams} streams
 * @param {Run} run
 * @returns {Promise<Outcome>}
 * @throws {VmError} ERR_VM_START where the kernel did not get as far as the command
 */
async function bootMachine(boot, errand, streams, { folder, timeout, signal }) {
  const mark = makeMark();
  const initrd = join(folder, 'initrd');
  const consoleFile = join(folder, 'console');
  await writeFile(initrd, Buffer.concat([await readFile(boot.initrd), errandArchive(errand, mark)]));
  /** @type {Supervised[]} */
  const started = [];
  /** @type {Map<import('./ports.mjs').PortName, Awaited<ReturnType<typeof listenPort>>>} */
  const ports = new Map();
  try {
    /** @type {Record<string, string>} */
    const shares = {};
    for (const [name, writable] of Object.entries({ host: [], writable: errand.writable })) {
      const share = await shareFiles({ folder, name, server: boot.server, writable });
      started.push(share.process);
      shares[name] = share.socket;
    }
    for (const name of portNames(errand)) ports.set(name, await listenPort(folder, name));
    const paths = Object.fromEntries([...ports].map(([name, port]) => [name, port.path]));
    boot.say(`booting Linux ${boot.kernel.version} (${boot.accel})`);
    const machine = {
      ...boot,
      initrd,
      console: consoleFile,
      shares,
      ports: paths,
      parameters: kernelParameters(errand),
    };
    const qemu = supervise('QEMU', boot.qemu, qemuArguments(machine));
    started.unshift(qemu);
    const lost = firstLoss(started, consoleFile);
    const console = async () => lastLines(await readConsole(consoleFile));
    return await converse({ ports, mark, streams, lost, console, timeout, signal, say: boot.say });
  } finally {
    // Without QEMU the others have nothing to do and end by themselves, with all that they started.
    for (const part of started) await part.stop(part.name === 'QEMU' ? 0 : 1000);
    for (const port of ports.values()) port.close();
  }
}

/**
 * @param {import('./command.mjs').Errand} errand
 * @returns {import('./ports.mjs').PortName[]}
 */
function portNames({ terminal, stdin }) {
  if (terminal) return ['control', 'terminal'];
  return stdin ? ['control', 'stdout', 'stderr', 'stdin'] : ['control', 'stdout', 'stderr'];
}

/**
 * @param {import('./command.mjs').Errand} errand
 * @returns {string[]}
 */
function kernelParameters({ hugepages }) {
  // Early, while memory is still in one piece.
  return hugepages > 0 ? [`hugepages=${hugepages}`] : [];
}

/**
 * @param {Supervised[]} parts
 * @param {string} consoleFile
 * @returns {Promise<VmError>} settles when the first of them has ended
 */
async function firstLoss(parts, consoleFile) {
  const first = await Promise.race(parts.map((part) => part.end.then(() => part)));
  // A virtiofsd that QEMU has left ends in good order, and may be seen to end before QEMU is.
  await sleep(300);
  const qemu = parts.find((part) => part.name === 'QEMU' && part.ended !== undefined);
  const culprit = first.ended === 'exit status 0' && qemu ? qemu : first;
  return lossError(culprit.name, culprit.ended ?? '', culprit.said(), await readConsole(consoleFile));
}

/**
 * @param {string} name
 * @param {string} how
 * @param {string} said
 * @param {string} console
 * @returns {VmError}
 */
export function lossError(name, how, said, console) {
  const lines = lastLines(console);
  const panic = name === 'QEMU' ? /Kernel panic - not syncing: (.*)/.exec(console)?.[1]?.trim() : undefined;
  const parts = [panic ? `the kernel in the VM panicked: ${panic}` : `${name} ended under the VM (${how})`];
  if (said) parts.push(`${name} said:\n${said}`);
  if (lines) parts.push(`the VM's console ended with:\n${lines}`);
  return new VmError(panic ? 'ERR_VM_PANIC' : 'ERR_VM_DIED', parts.join('\n'));
}

/** @param {string} path */
async function readConsole(path) {
  return readFile(path, 'latin1').catch(() => '');
}

/**
 * @param {string} console
 * @returns {string}
 */
function lastLines(console) {
  // What led to a panic stands before it, and what follows is the kernel's own trace.
  const told = console.replaceAll('\r', '').replace(/(Kernel panic - [^\n]*\n).*/s, '$1');
  return told.trimEnd().split('\n').slice(-25).join('\n');
}
