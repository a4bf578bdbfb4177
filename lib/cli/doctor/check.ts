import type { Machine } from './machine.js';

/** `missing`: it is not there. `blocked`: it is there, but not for this program. */
export type Status = 'ok' | 'missing' | 'blocked';

/** What a check found out. */
export interface Finding {
  readonly status: Status;
  /** What is there, or why not. */
  readonly detail: string;
  /** The command that mends it, where one does. */
  readonly mend?: string;
}

/** One thing that a `Nic` needs, or profits from. */
export interface Check {
  readonly name: string;
  /** Nothing stops without it. */
  readonly optional?: boolean;
  find(machine: Machine): Finding;
}

export function ok(detail: string): Finding {
  return { status: 'ok', detail };
}

export function missing(detail: string, mend?: string): Finding {
  return { status: 'missing', detail, ...(mend !== undefined && { mend }) };
}

export function blocked(detail: string, mend?: string): Finding {
  return { status: 'blocked', detail, ...(mend !== undefined && { mend }) };
}
