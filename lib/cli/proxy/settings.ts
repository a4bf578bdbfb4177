import type { BackendOptions } from '../../backend/open.js';
import { parseOptions, UsageError } from '../usage.js';
import { groupOf, idOf } from './identity.js';

/** What the options of `vhost-net proxy` ask for. */
export interface ProxySettings {
  readonly socket: string;
  /** Permission bits and owner of the socket. */
  readonly mode: number;
  readonly owner: number | undefined;
  readonly ownerGroup: number | undefined;
  /** The tap or macvtap; a program can do without. */
  readonly network: BackendOptions | undefined;
  /** Queue pairs that the front-end may have. */
  readonly queuePairs: number;
  readonly program: string | undefined;
  /** A path, or "worker". */
  readonly device: string;
  /** Whom to go on as. */
  readonly identity: { readonly user: number; readonly group: number } | undefined;
}

const options = {
  socket: { type: 'string' },
  tap: { type: 'string' },
  macvtap: { type: 'string' },
  netns: { type: 'string' },
  program: { type: 'string' },
  'queue-pairs': { type: 'string', default: '1' },
  device: { type: 'string', default: '/dev/vhost-net' },
  'socket-mode': { type: 'string', default: '600' },
  'socket-owner': { type: 'string' },
  'socket-group': { type: 'string' },
  user: { type: 'string' },
  group: { type: 'string' },
} as const;

export function proxySettings(args: readonly string[]): ProxySettings {
  const told = parseOptions(args, options);
  const { socket, program, device, tap, macvtap, netns, 'socket-mode': mode, 'queue-pairs': pairs } = told;
  if (socket === undefined) throw new UsageError('--socket PATH is missing');
  if (tap !== undefined && macvtap !== undefined)
    throw new UsageError('--tap NAME and --macvtap NAME exclude each other');
  if (tap === undefined && macvtap === undefined && program === undefined)
    throw new UsageError('one of --tap NAME, --macvtap NAME and --program FILE is needed');
  if (!/^[0-7]{1,3}$/.test(mode))
    throw new UsageError(`--socket-mode is permission bits in octal, such as 660; it is ${mode}`);
  const queuePairs = Number(pairs);
  if (!Number.isInteger(queuePairs) || queuePairs < 1 || queuePairs > 128)
    throw new UsageError(`--queue-pairs is a number from 1 to 128; it is ${pairs}`);
  if (queuePairs > 1 && program !== undefined) throw new UsageError('a program serves one queue pair');
  const identity = identityOf(told.user, told.group);
  const where = netns === undefined ? {} : { netns };
  const byGroup = told['socket-group'];
  return {
    socket,
    mode: Number.parseInt(mode, 8),
    owner: told['socket-owner'] === undefined ? identity?.user : idOf('user', told['socket-owner']),
    ownerGroup: byGroup === undefined ? identity?.group : idOf('group', byGroup),
    network:
      tap !== undefined
        ? { tap: { name: tap, ...where } }
        : macvtap !== undefined
          ? { macvtap: { name: macvtap, ...where } }
          : undefined,
    queuePairs,
    program,
    device,
    identity,
  };
}

function identityOf(userTold: string | undefined, groupTold: string | undefined): ProxySettings['identity'] {
  if (userTold === undefined) {
    if (groupTold !== undefined) throw new UsageError('--group needs --user');
    return undefined;
  }
  const user = idOf('user', userTold);
  if (user === 0) throw new UsageError('--user root would give nothing up; leave it out to go on as root');
  const group = groupTold === undefined ? groupOf(user) : idOf('group', groupTold);
  if (group === undefined) throw new UsageError(`user ${user} is not in /etc/passwd; name a --group`);
  return { user, group };
}
