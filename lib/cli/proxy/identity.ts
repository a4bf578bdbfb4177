import { readFileSync } from 'node:fs';
import { UsageError } from '../usage.js';

/** The number of a user or a group, told by name or number. */
export function idOf(kind: 'user' | 'group', told: string): number {
  if (/^\d+$/.test(told)) return Number(told);
  const table = kind === 'user' ? '/etc/passwd' : '/etc/group';
  for (const line of readFileSync(table, 'utf8').split('\n')) {
    const [name, , id] = line.split(':');
    if (name === told) return Number(id);
  }
  throw new UsageError(`there is no ${kind} ${told}`);
}

/** Gives up what root may do, for good: the groups first, while that is still allowed. */
export function becomeUser({ user, group }: { user: number; group: number }): void {
  process.setgroups!([]);
  process.setgid!(group);
  process.setuid!(user);
}

/** The group that a user has in the table of users. */
export function groupOf(user: number): number | undefined {
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const fields = line.split(':');
    if (Number(fields[2]) === user && fields.length > 3) return Number(fields[3]);
  }
  return undefined;
}
