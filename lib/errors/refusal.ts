import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { explain } from './hints.js';

/** Numbers of Linux that node:os does not know. */
const others: Readonly<Record<string, number>> = { EBADFD: 77 };

/** A positive errno, as read(2) and its like give it: the number of a code such as 'EAGAIN'. */
export function errnoOf(code: string): number {
  const number = (constants.errno as Readonly<Record<string, number>>)[code] ?? others[code];
  if (number === undefined) throw new TypeError(`${code} is no errno`);
  return number;
}

/** The refusal of a request as the kernel's device would make it: `code`, `errno`, `request`, `queue`. */
export function refusal(code: string, request: string, queue?: number): Error {
  const errno = -errnoOf(code);
  const text = getSystemErrorMap().get(errno)?.[1] ?? 'refused';
  return explain(
    Object.assign(new Error(`${code}: ${text}, ${request}`), {
      errno,
      code,
      request,
      ...(queue !== undefined && { queue }),
    }),
  ) as Error;
}
