import { mkdir, realpath, rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { chooseAccel } from './accel.mjs';
import { signalOf, statusOfSignal } from './conversation.mjs';
import { runDirectly } from './direct.mjs';
import { codeOf, VmError } from './errors.mjs';
import { deviceOnHost, tapsOnHost } from './host.mjs';
import { buildInitrd } from './initrd.mjs';
import { findKernel } from './kernel.mjs';
import { makeRunFolder, runMachine, sweepRunFolders } from './machine.mjs';
import { needPrograms } from './packages.mjs';
import { findProgram } from './programs.mjs';
import { buildOutput, CHECKOUT, findFileServer, lackingFileServer } from './share.mjs';

export { VmError } from './errors.mjs';
export { deviceOnHost } from './host.mjs';

/** @typedef {(chunk: Buffer) => void | Promise<void>} OnOutput a promise that is returned holds the command back */
/**
 * @typedef {object} RunOptions
 * @property {string} command a program's name or path
 * @property {string[]} [args]
 * @property {string} [cwd] default: the current one
 * @property {Record<string, string | undefined>} [env] default: this process's. VHOST_SCRATCH names a folder that
 *   stays writable for real; without it, one is made and removed for the run
 * @property {string} [kernel] a series such as '6.12' (the default) or '6.1', or the path of an image. Naming one asks
 *   for a VM
 * @property {boolean} [zerocopy] vhost_net with experimental_zcopytx=1
 * @property {number} [cpus] default 2
 * @property {boolean} [parallel] emulated CPUs run at the same time: faster where programs spin, and now and then the
 *   kernel dies
 * @property {number} [memory] in MiB; default 4096
 * @property {number} [hugepages] of 2 MiB each, reserved in the VM; default 0. Asking for some asks for a VM
 * @property {number} [timeout] in seconds, from the start of the VM; default 1800
 * @property {'auto' | 'kvm' | 'tcg'} [accel] default 'auto': KVM where it is proved to work
 * @property {boolean} [vm] a VM even where this machine has a device that works
 * @property {boolean} [tapsOnly] taps are all that the command needs: it runs on this machine where they can be made
 * @property {string[]} [needs] programs that the command uses, installed where missing
 * @property {'inherit' | 'ignore'} [stdio] where the output goes that no function takes; default 'inherit'
 * @property {OnOutput} [onStdout]
 * @property {OnOutput} [onStderr]
 * @property {import('node:stream').Readable} [stdin] the command's input; default: none
 * @property {import('./terminal.mjs').Terminal} [terminal] runs the command on a terminal instead of streams
 * @property {AbortSignal} [signal] interrupts the command. The reason may be a signal's name, which the command then
 *   gets; default SIGTERM
 * @property {(message: string) => void} [onProgress] told what is under way; '' when the command begins
 */
/**
 * @typedef {object} RunResult
 * @property {number} status as a shell counts: 128 + n for a command that died of signal n, 124 after a timeout
 * @property {NodeJS.Signals | null} signal what the status stands for
 * @property {boolean} timedOut
 * @property {'host' | 'vm'} where
 * @property {string | null} kernel the VM's kernel version
 * @property {'kvm' | 'tcg' | null} accel
 */

/**
 * Runs a command that finds a real /dev/vhost-net: on this machine where it has one that works, otherwise in a VM that
 * shows the same files at the same paths.
 *
 * @param {RunOptions} options
 * @returns {Promise<RunResult>}
 * @throws {VmError} when the VM, not the command, fails
 */
export async function runWithDevice(options) {
  const { onProgress: say = () => {}, signal } = options;
  try {
    const direct = await runsHere(options);
    await needPrograms(await programsFor(options), say);
    signal?.throwIfAborted();
    return direct ? result(await runDirectly(withDefaults(options))) : await runInVm(options, say);
  } catch (error) {
    // Whoever read the output has stopped; a command learns that in the same way.
    if (codeOf(error) === 'EPIPE') return result({ status: statusOfSignal('SIGPIPE'), timedOut: false });
    // An abort is no failure of the machinery: it is the end that was asked for.
    if (!signal?.aborted || error instanceof VmError) throw error;
    return result({ status: statusOfSignal(signalOf(signal.reason)), timedOut: false });
  }
}

/**
 * What must be installed for a run: the programs that its command uses, and those of the VM where there will be one.
 *
 * @param {Pick<RunOptions, 'vm' | 'kernel' | 'hugepages' | 'zerocopy' | 'terminal' | 'tapsOnly' | 'needs'>} options
 * @returns {Promise<string[]>} names
 */
export async function programsFor(options) {
  const { needs = [] } = options;
  if (await runsHere(options)) return needs;
  return [...needs, 'qemu-system-x86_64', 'unshare', 'setpriv', ...(await lackingFileServer())];
}

/** @param {Pick<RunOptions, 'vm' | 'kernel' | 'hugepages' | 'zerocopy' | 'terminal' | 'tapsOnly'>} options */
async function runsHere({ vm, kernel, hugepages, zerocopy = false, terminal, tapsOnly }) {
  if (vm || kernel || hugepages || terminal) return false;
  if (tapsOnly) return tapsOnHost();
  const device = await deviceOnHost();
  return device.usable && (device.zerocopy || !zerocopy);
}

/**
 * @param {RunOptions} options
 * @param {import('./packages.mjs').Say} say
 * @returns {Promise<RunResult>}
 */
async function runInVm(options, say) {
  if (process.arch !== 'x64') {
    throw new VmError(
      'ERR_VM_ARCH',
      `a VM is offered on x86-64, not on ${process.arch}; use a host with vhost_net loaded`,
    );
  }
  const { cpus = 2, parallel = false, memory = 4096, hugepages = 0, timeout = 1800, signal } = options;
  if (hugepages * 2 > memory - 256) {
    throw new VmError(
      'ERR_VM_USAGE',
      `${hugepages} huge pages of 2 MiB do not fit in ${memory} MiB; raise --memory`,
    );
  }
  await sweepRunFolders();
  const qemu = (await findProgram('qemu-system-x86_64')) ?? 'qemu-system-x86_64';
  const server = await findFileServer(say);
  const kernel = await findKernel(options.kernel, say);
  const initrd = await buildInitrd(kernel, say);
  signal?.throwIfAborted();
  const folder = await makeRunFolder();
  const build = await buildOutput();
  try {
    const accel = await chooseAccel(options.accel ?? 'auto', { kernel, initrd, qemu, say }, folder);
    const { env, streams, ...errand } = withDefaults(options);
    const scratch = await scratchFolder(env, folder);
    const boot = { kernel, initrd, accel, cpus, parallel, memory, qemu, server, say };
    const cwd = await realpath(errand.cwd);
    const inside = {
      ...errand,
      cwd,
      env: { ...env, VHOST_SCRATCH: scratch },
      writable: [...build.folders, scratch],
      shown: [CHECKOUT, cwd],
      overlay: server.overlay,
      zerocopy: options.zerocopy ?? false,
      hugepages,
      stdin: streams.stdin !== undefined,
      terminal: options.terminal?.size(),
    };
    const outcome = await runMachine(boot, inside, streams, { folder, timeout, signal });
    return { ...result(outcome), where: 'vm', kernel: kernel.version, accel };
  } finally {
    await rm(folder, { recursive: true, force: true });
    // Another run may have the same empty folder mounted, and would lose it.
    if ((await sweepRunFolders()) === 0) await build.tidy();
  }
}

/**
 * @param {Record<string, string | undefined>} env
 * @param {string} folder
 * @returns {Promise<string>}
 */
async function scratchFolder({ VHOST_SCRATCH: given }, folder) {
  const path = given || join(folder, 'scratch');
  await mkdir(path, { recursive: true });
  const scratch = await realpath(path);
  if (`${CHECKOUT}/`.startsWith(scratch.endsWith('/') ? scratch : `${scratch}/`)) {
    throw new VmError(
      'ERR_VM_USAGE',
      `VHOST_SCRATCH=${path} would let the VM change this very checkout; name another`,
    );
  }
  return scratch;
}

/** @param {RunOptions} options */
function withDefaults(options) {
  const {
    command,
    args = [],
    cwd = process.cwd(),
    env = process.env,
    stdio = 'inherit',
    signal,
    timeout = 1800,
  } = options;
  /** @param {NodeJS.WriteStream} stream @returns {OnOutput} */
  const standard = (stream) => (stdio === 'ignore' ? () => {} : (chunk) => write(stream, chunk));
  const streams = {
    onStdout: options.onStdout ?? standard(process.stdout),
    onStderr: options.onStderr ?? standard(process.stderr),
    stdin: options.stdin,
    terminal: options.terminal,
  };
  return { command, args, cwd, env, streams, signal, timeout };
}

/**
 * @param {NodeJS.WriteStream} stream
 * @param {Buffer} chunk
 * @returns {Promise<void>} settles when it is written
 */
function write(stream, chunk) {
  return new Promise((resolve, reject) =>
    stream.write(chunk, (error) => (error ? reject(error) : resolve())),
  );
}

/**
 * @param {import('./conversation.mjs').Outcome} outcome
 * @returns {RunResult}
 */
function result({ status, timedOut }) {
  const entry = Object.entries(constants.signals).find(([, number]) => status === 128 + number);
  const signal = /** @type {NodeJS.Signals | undefined} */ (entry?.[0]) ?? null;
  return { status, signal, timedOut, where: 'host', kernel: null, accel: null };
}
