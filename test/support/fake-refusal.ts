import { getSystemErrorMap } from 'node:util';
import { errnoOf } from '../../lib/errors/refusal.js';
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

/**
 * The error for a call `surface.method` with these arguments; `door` is the path of a network namespace where it
 * was the way into that one which failed.
 */
export function refusal(name: string, args: readonly unknown[], code: string, door?: string): Refusal {
  const { syscall, request, queue, path } =
    door === undefined ? requests[name]! : { ...requests[name]!, ...doorway };
  const errno = -errnoOf(code);
  const text = getSystemErrorMap().get(errno)?.[1] ?? 'refused';
  const file = door ?? (path === undefined ? undefined : (args[path] as string));
  const words = [`${code}: ${text}, ${syscall}`, request, file === undefined ? undefined : `'${file}'`];
  return Object.assign(new Error(words.filter((word) => word !== undefined).join(' ')), {
    errno,
    code,
    syscall,
    ...(request === undefined ? {} : { request }),
    ...(queue === undefined ? {} : { queue: args[queue] as number }),
    ...(file === undefined ? {} : { path: file }),
  });
}

const doorway = { syscall: 'open' };

/** The error for an argument that the native part refuses before it asks the kernel. */
export function misuse(text: string): RangeError {
  return Object.assign(new RangeError(text), { code: 'ERR_VHOST_OUT_OF_RANGE' });
}
