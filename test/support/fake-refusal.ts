import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { requests } from './fake-requests.js';

/** A refusal as the native part throws it. */
export interface Refusal extends NodeJS.ErrnoException {
  readonly code: string;
  /** Negative. */
  readonly errno: number;
  readonly syscall: string;
  readonly request?: string;
  readonly queue?: number;
}

/** Numbers of Linux that node:os does not know. */
const others: Readonly<Record<string, number>> = { EBADFD: 77 };

/** The negative errno of a code such as 'EBUSY'. */
export function errnoOf(code: string): number {
  const number = (constants.errno as Readonly<Record<string, number>>)[code] ?? others[code];
  if (number === undefined) throw new TypeError(`${code} is no errno`);
  return -number;
}

/** The error for a call `surface.method` with these arguments. */
export function refusal(name: string, args: readonly unknown[], code: string): Refusal {
  const { syscall, request, queue, path } = requests[name]!;
  const errno = errnoOf(code);
  const text = getSystemErrorMap().get(errno)?.[1] ?? 'refused';
  const error = new Error(`${code}: ${text}, ${request === undefined ? syscall : `${syscall} ${request}`}`);
  return Object.assign(error, {
    errno,
    code,
    syscall,
    ...(request === undefined ? {} : { request }),
    ...(queue === undefined ? {} : { queue: args[queue] as number }),
    ...(path === undefined ? {} : { path: args[path] as string }),
  });
}
