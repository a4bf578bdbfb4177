import { inspect } from 'node:util';
import { type VhostErrorDetails, VhostRangeError, VhostTypeError } from './errors.js';

function show(value: unknown): string {
  return inspect(value, { depth: 0, maxStringLength: 40, maxArrayLength: 4, breakLength: Infinity });
}

/** The error for an argument of the wrong type: what it must be, what came. */
export function wrongType(argument: string, rule: string, value: unknown): VhostTypeError {
  return new VhostTypeError(`${argument} must be ${rule}; received ${show(value)}`);
}

/** The error for an argument whose value breaks its rule; of which request and queue, where it was for one. */
export function wrongValue(
  argument: string,
  rule: string,
  value: unknown,
  details?: Omit<VhostErrorDetails, 'cause'>,
): VhostRangeError {
  return new VhostRangeError(`${argument} must be ${rule}; received ${show(value)}`, undefined, details);
}

/** A whole number from `low` to `high`. */
export function checkInteger(argument: string, value: unknown, low: number, high: number): number {
  if (typeof value !== 'number') throw wrongType(argument, 'a number', value);
  if (!Number.isInteger(value) || value < low || value > high)
    throw wrongValue(argument, `a whole number from ${low} to ${high}`, value);
  return value;
}

/** `true` or `false`, and nothing that merely counts as one of them. */
export function checkBoolean(argument: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw wrongType(argument, 'true or false', value);
  return value;
}

/** A bigint of 64 bits. */
export function checkU64(argument: string, value: unknown): bigint {
  if (typeof value !== 'bigint') throw wrongType(argument, 'a bigint', value);
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
    throw wrongValue(argument, 'a bigint from 0 to 2^64 - 1', value);
  return value;
}

/** A name of a network interface as the kernel takes it: 1 to 15 bytes, no '/', no space (dev_valid_name()). */
export function checkInterfaceName(argument: string, value: unknown): string {
  if (typeof value !== 'string') throw wrongType(argument, 'a string', value);
  const bytes = Buffer.byteLength(value);
  if (bytes < 1 || bytes > 15)
    throw wrongValue(argument, `an interface name of 1 to 15 bytes (this one has ${bytes})`, value);
  if (value === '.' || value === '..' || /[/:\s\0]/.test(value))
    throw wrongValue(argument, "an interface name without '/', ':' and white space, not '.' or '..'", value);
  return value;
}

/** Refuses options that are not an object and names that no option has, guessing the one that was meant. */
export function checkOptions(argument: string, value: unknown, known: readonly string[]): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrongType(argument, 'an object of options', value);
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    const plain = name.toLowerCase().replace(/[^a-z]/g, '');
    const meant = known.find((other) => {
      if (plain === '') return false;
      const candidate = other.toLowerCase();
      return candidate === plain || candidate.startsWith(plain) || plain.startsWith(candidate);
    });
    throw wrongType(
      argument,
      `made of the options ${known.join(', ')}${meant ? ` (did you mean "${meant}"?)` : ''}`,
      { [name]: (value as Record<string, unknown>)[name] },
    );
  }
}
