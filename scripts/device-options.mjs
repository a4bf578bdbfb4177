import { parseArgs } from 'node:util';
import { parseCommandLine } from './vm/options.mjs';

/** The options of `npm run vm` that the demo and the tests hand on to it. */
export const DEVICE_OPTIONS = /** @type {const} */ ({
  kernel: { type: 'string' },
  cpus: { type: 'string' },
  memory: { type: 'string' },
  accel: { type: 'string' },
  vm: { type: 'boolean' },
});

export const DEVICE_HELP = `  --kernel 6.12|6.1|PATH   in a virtual machine with this kernel
  --accel auto|kvm|tcg     how the virtual machine is run
  --cpus N, --memory SIZE  of the virtual machine
  --vm                     a virtual machine even where this machine has the device
`;

/** A command line that cannot be understood; exit status 2. */
export class UsageError extends Error {}

/**
 * @template {NonNullable<import('node:util').ParseArgsConfig['options']>} T
 * @param {string[]} argv
 * @param {T} options those of DEVICE_OPTIONS and the script's own
 * @param {string} script how it is called, for messages
 * @returns {ReturnType<typeof parseArgs<{options: T, strict: true}>>['values']}
 */
export function parseScriptOptions(argv, options, script) {
  try {
    return parseArgs({ args: argv, options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // The first sentence says what is wrong, the rest how to pass what was not meant.
    const problem = error.message.split('. ')[0];
    throw new UsageError(`${problem} (${script} -- --help lists the options)`, { cause: error });
  }
}

/**
 * @param {{[name in keyof typeof DEVICE_OPTIONS]?: string | boolean | undefined}} values
 * @returns {import('./vm/options.mjs').CommandLine['run']} checked as `npm run vm` does
 */
export function deviceOptions(values) {
  const argv = Object.keys(DEVICE_OPTIONS).flatMap((name) => {
    const value = values[/** @type {keyof typeof DEVICE_OPTIONS} */ (name)];
    if (value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [`--${name}`, value];
  });
  return parseCommandLine([...argv, '--', 'true']).run;
}
