import { parseArgs } from 'node:util';
import { VmError } from './errors.mjs';

/**
 * @typedef {object} CommandLine
 * @property {string[]} command the program and its arguments
 * @property {boolean} help
 * @property {boolean} quiet
 * @property {boolean} shell
 * @property {Pick<import('./run.mjs').RunOptions,
 *   'kernel' | 'zerocopy' | 'cpus' | 'parallel' | 'memory' | 'hugepages' | 'timeout' | 'accel' | 'vm' | 'needs'>} run
 */

export const HELP = `Usage: npm run vm -- [OPTION…] [--] COMMAND [ARG…]

Runs a command that finds a real /dev/vhost-net: on this machine if it has one that works, otherwise in a virtual
machine that shows the same files at the same paths. Ends with the command's status; 124 after a timeout, 125 when the
virtual machine fails, 126 or 127 when the command cannot be run.

Inside, programs may write anywhere; it is kept in memory and gone at the end. Only the folder that VHOST_SCRATCH names,
and build, coverage and dist of this checkout, are the real ones.

  --kernel 6.12|6.1|PATH   a kernel series from the distribution's packages, or an image (default 6.12)
  --zerocopy               vhost_net completes large frames late (experimental_zcopytx=1)
  --cpus N                 (default 2)
  --parallel               emulated CPUs run at the same time: faster where programs spin, and now and then the kernel
                           of the virtual machine dies
  --memory SIZE            MiB, or with a unit: 4G (default 4G)
  --hugepages N            reserves N pages of 2 MiB, mounted at /dev/hugepages
  --timeout SECONDS        (default 1800)
  --accel auto|kvm|tcg     auto uses KVM once it is proved to work here, else emulation (default auto)
  --vm                     a virtual machine even where this machine has the device
  --need PROGRAM           installs a program's package if it is missing, such as ping or iperf3; repeatable
  --shell                  an interactive shell in the virtual machine, or COMMAND on a terminal
  --quiet                  no word about fetching and booting
  --help
`;

const OPTIONS = /** @type {const} */ ({
  kernel: { type: 'string' },
  zerocopy: { type: 'boolean' },
  cpus: { type: 'string' },
  parallel: { type: 'boolean' },
  memory: { type: 'string' },
  hugepages: { type: 'string' },
  timeout: { type: 'string' },
  accel: { type: 'string' },
  vm: { type: 'boolean' },
  need: { type: 'string', multiple: true },
  shell: { type: 'boolean' },
  quiet: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
});

/**
 * @param {string} problem
 * @returns {VmError}
 */
function usage(problem) {
  return new VmError('ERR_VM_USAGE', `${problem} (npm run vm -- --help lists the options)`);
}

/**
 * @param {string[]} argv
 * @returns {CommandLine}
 * @throws {VmError} ERR_VM_USAGE
 */
export function parseCommandLine(argv) {
  const [own, command] = splitCommand(argv);
  const values = parseOwn(own);
  const { help = false, quiet = false, shell = false, accel, memory } = values;
  if (!help && !shell && command.length === 0) throw usage('there is no command to run');
  if (accel !== undefined && accel !== 'auto' && accel !== 'kvm' && accel !== 'tcg') {
    throw usage(`--accel is auto, kvm or tcg, not ${accel}`);
  }
  /** @type {CommandLine['run']} */
  const run = {
    zerocopy: values.zerocopy ?? false,
    parallel: values.parallel ?? false,
    vm: values.vm ?? false,
    needs: values.need ?? [],
  };
  if (values.kernel !== undefined) run.kernel = values.kernel;
  if (accel !== undefined) run.accel = accel;
  if (memory !== undefined) run.memory = parseMemory(memory);
  for (const name of /** @type {const} */ (['cpus', 'hugepages', 'timeout'])) {
    const text = values[name];
    if (text !== undefined) run[name] = parseCount(`--${name}`, text);
  }
  return { command, help, quiet, shell, run };
}

/** @param {string[]} own */
function parseOwn(own) {
  try {
    return parseArgs({ args: own, options: OPTIONS, strict: true, allowPositionals: false }).values;
  } catch (cause) {
    throw usage(cause instanceof Error ? (cause.message.split('. ')[0] ?? cause.message) : String(cause));
  }
}

/**
 * The command begins at the first word that is neither an option of ours nor the value of one; its own options are
 * not ours to read.
 *
 * @param {string[]} argv
 * @returns {[string[], string[]]}
 */
function splitCommand(argv) {
  let at = 0;
  while (at < argv.length) {
    const word = argv[at] ?? '';
    if (word === '--') return [argv.slice(0, at), argv.slice(at + 1)];
    if (!word.startsWith('-')) break;
    const option = /** @type {Record<string, {type: string}>} */ (OPTIONS)[word.slice(2)];
    at += option?.type === 'string' ? 2 : 1;
  }
  return [argv.slice(0, at), argv.slice(at)];
}

/**
 * @param {string} text MiB, or a number with M or G
 * @returns {number} MiB
 */
export function parseMemory(text) {
  const [, digits, unit] = /^(\d+)([MG]?)$/i.exec(text) ?? [];
  const size = Number(digits) * (unit?.toUpperCase() === 'G' ? 1024 : 1);
  if (!(size >= 256)) throw usage(`--memory is at least 256 MiB, such as 1024 or 4G, not ${text}`);
  return size;
}

/**
 * @param {string} name
 * @param {string} text
 * @returns {number}
 */
function parseCount(name, text) {
  const least = name === '--hugepages' ? 0 : 1;
  if (!/^\d+$/.test(text) || Number(text) < least)
    throw usage(`${name} is a whole number from ${least} up, not ${text}`);
  return Number(text);
}
