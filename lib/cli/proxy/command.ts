import { once } from 'node:events';
import { openBackend } from '../../backend/open.js';
import { undo } from '../../errors/undo.js';
import { hostKernel } from '../../kernel/host.js';
import { HostDevice } from '../../net/host-device.js';
import { KernelVhost } from '../../vhost/kernel-vhost.js';
import { VhostUserServer } from '../../vhost/user/server.js';
import type { Command, CommandContext } from '../command.js';
import { parseOptions, UsageError } from '../usage.js';
import { becomeUser, groupOf, idOf } from './identity.js';

const options = {
  socket: { type: 'string' },
  tap: { type: 'string' },
  macvtap: { type: 'string' },
  netns: { type: 'string' },
  device: { type: 'string', default: '/dev/vhost-net' },
  'socket-mode': { type: 'string', default: '600' },
  'socket-owner': { type: 'string' },
  'socket-group': { type: 'string' },
  user: { type: 'string' },
  group: { type: 'string' },
} as const;

export const proxy: Command = {
  help: `Usage: vhost-net proxy --socket PATH (--tap NAME | --macvtap NAME) [OPTION…]

Gives a program that speaks vhost-user (QEMU, DPDK) the kernel's vhost-net on a tap or a macvtap. The program needs no
privilege but to connect; the kernel serves the rings in its memory, and no frame enters this process. One program at a
time; one that comes again goes on where its rings are.

  --socket PATH         the unix socket to listen at
  --tap NAME            a tap; made where it does not exist
  --macvtap NAME        a macvtap that exists
  --netns NAME          the network namespace it is in, by name or path
  --device PATH         the vhost device (/dev/vhost-net)
  --socket-mode MODE    permission bits of the socket, octal (600): who may write to it may connect
  --socket-owner USER   whom the socket belongs to, by name or number
  --socket-group GROUP
  --user USER           whom to go on as once everything is open; gives up root's privileges
  --group GROUP         the group to go on with (that of the user)
  --help
`,
  async run(args, context) {
    const told = parseOptions(args, options);
    const { socket, tap, macvtap, netns } = told;
    if (socket === undefined) throw new UsageError('--socket PATH is missing');
    if ((tap === undefined) === (macvtap === undefined))
      throw new UsageError('one of --tap NAME and --macvtap NAME is needed');
    if (!/^[0-7]{1,3}$/.test(told['socket-mode']))
      throw new UsageError(
        `--socket-mode is permission bits in octal, such as 660; it is ${told['socket-mode']}`,
      );
    const user = told.user === undefined ? undefined : idOf('user', told.user);
    const group = told.group === undefined ? user && groupOf(user) : idOf('group', told.group);
    if (user === undefined && group !== undefined) throw new UsageError('--group needs --user');
    if (user !== undefined && group === undefined)
      throw new UsageError(`user ${user} is not in /etc/passwd; name a --group`);
    const owner = told['socket-owner'] === undefined ? user : idOf('user', told['socket-owner']);

    const kernel = hostKernel();
    const where = netns === undefined ? {} : { netns };
    const backend = openBackend(
      tap === undefined ? { macvtap: { name: macvtap!, ...where } } : { tap: { name: tap, ...where } },
      kernel,
    );
    let device: HostDevice;
    try {
      device = new HostDevice(kernel, KernelVhost.open({ path: told.device, kernel }), backend);
    } catch (error) {
      undo(() => backend.close());
      throw error;
    }
    try {
      const server = VhostUserServer.listen({
        path: socket,
        device: () => device.lend(),
        mode: Number.parseInt(told['socket-mode'], 8),
        uid: owner,
        gid: told['socket-group'] === undefined ? group : idOf('group', told['socket-group']),
        kernel,
      });
      try {
        if (user !== undefined) becomeUser(user, group!);
        await serve(server, backend.interface.name, context);
      } finally {
        await server.close();
      }
    } finally {
      device.close();
    }
    return 0;
  },
};

/** Tells what happens until the end is asked for. */
async function serve(server: VhostUserServer, name: string, { err, signal }: CommandContext): Promise<void> {
  const say = (text: string): void => err(`proxy: ${text}\n`);
  const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
  server.on('connect', ({ connection }) => {
    const { pid, uid } = connection.peer;
    say(`process ${pid} of user ${uid} connected`);
  });
  server.on('disconnect', (_, error) =>
    say(`disconnected${error === undefined ? '' : `: ${reason(error)}`}`),
  );
  server.on('refuse', (_, request, error) => say(`refused ${request}: ${reason(error)}`));
  server.on('reject', (error) => say(`turned a program away: ${reason(error)}`));
  say(`listening at ${server.path} for ${name}`);
  if (!signal.aborted) await once(signal, 'abort');
}
