import { once } from 'node:events';
import { openBackend } from '../../backend/open.js';
import { hostKernel } from '../../kernel/host.js';
import { HostDevice } from '../../net/host-device.js';
import { Teardown } from '../../net/teardown.js';
import { KernelVhost } from '../../vhost/kernel-vhost.js';
import { VhostUserServer } from '../../vhost/user/server.js';
import { WorkerVhost } from '../../vhost/worker/worker-vhost.js';
import type { Command } from '../command.js';
import { doublings, type Say } from './doublings.js';
import { becomeUser } from './identity.js';
import { ProgramLine } from './program-line.js';
import { proxySettings } from './settings.js';

export const proxy: Command = {
  help: `Usage: vhost-net proxy --socket PATH (--tap NAME | --macvtap NAME) [OPTION…]
       vhost-net proxy --socket PATH --program FILE [--tap NAME | --macvtap NAME] [OPTION…]

Gives a front-end that speaks vhost-user (QEMU, DPDK) the kernel's vhost-net on a tap or a macvtap. The front-end needs
no privilege but to connect; the kernel serves the rings in its memory, and no frame enters this process, unless it is the
device itself (--device worker). One front-end at a time; one that comes again goes on where its rings are.

With a program, every frame goes through a function of yours, to a tap, a macvtap or nowhere. FILE is a module:

  export default ({ deliver, send, signal }) => ({
    transmit: (frame) => send(frame), // from the front-end; the promise completes it
    receive: (frame) => void deliver(frame), // from the tap
  });

  --socket PATH         the unix socket to listen at
  --tap NAME            a tap; made where it does not exist
  --macvtap NAME        a macvtap that exists
  --netns NAME          the network namespace it is in, by name or path
  --queue-pairs N       how many pairs the front-end may have (1), each a device and a queue of the tap
  --program FILE        a module that takes the frames
  --device PATH         the vhost device on the tap (/dev/vhost-net); "worker" is this process itself
  --socket-mode MODE    permission bits of the socket, octal (600): who may write to it may connect
  --socket-owner USER   whom the socket belongs to, by name or number
  --socket-group GROUP
  --user USER           whom to go on as once everything is open, giving up root's privileges; without, it stays root
  --group GROUP         the group to go on with (that of the user)
  --help
`,
  async run(args, { err, signal }) {
    const {
      socket,
      mode,
      owner,
      ownerGroup,
      network,
      queuePairs,
      program,
      device: path,
      identity,
    } = proxySettings(args);
    const say: Say = (text) => err(`proxy: ${text}\n`);
    const kernel = hostKernel();
    const opened = new Teardown();
    try {
      const line =
        program === undefined
          ? undefined
          : await ProgramLine.open(network && { ...network, vhost: path }, say);
      const backend = line?.backend ?? openBackend(network!, kernel, queuePairs);
      opened.add(() => backend.close());
      const vhosts = backend.queues.map(() => {
        const vhost =
          line !== undefined || path === 'worker' ? worker(say) : KernelVhost.open({ path, kernel });
        opened.add(() => vhost.close());
        return vhost;
      });
      const device = new HostDevice(kernel, vhosts, backend);
      let loaded: Promise<void> | undefined;
      const server = VhostUserServer.listen({
        path: socket,
        device: async () => {
          await loaded;
          return device.lend();
        },
        mode,
        uid: owner,
        gid: ownerGroup,
        kernel,
      });
      opened.add(() => server.close());
      tellOf(server, say);
      // Before the queues are stopped, which waits for the program, which may wait for the network.
      if (line !== undefined) opened.add(() => line.close());
      if (identity !== undefined) becomeUser(identity);
      else if (process.getuid!() === 0) say('goes on as root; --user names somebody to go on as');
      loaded = line?.load(program!);
      await loaded;
      const interfaces = [program, line?.network, line === undefined && backend.interface.name];
      say(`listening at ${socket} for ${interfaces.filter(Boolean).join(' on ')}`);
      const stop = AbortSignal.any([signal, ...(line === undefined ? [] : [line.failure])]);
      if (!stop.aborted) await once(stop, 'abort');
      line?.failure.throwIfAborted();
    } finally {
      await opened.run();
    }
    return 0;
  },
};

/** This process as the device. */
function worker(say: Say): WorkerVhost {
  const vhost = new WorkerVhost();
  const sayOf = doublings(say);
  vhost.on('fault', ({ queue, reason, error }) => {
    const cause = error instanceof Error ? `: ${error.message}` : '';
    sayOf(`queue ${queue} stands still: ${reason}${cause}`);
  });
  return vhost;
}

function tellOf(server: VhostUserServer, say: Say): void {
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
}
