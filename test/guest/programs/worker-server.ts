// A vhost-user server over the worker, on a tap: `node worker-server.js SOCKET TAP NETNS`. It tells what happens on its
// standard error, as `vhost-net proxy` does.
import { agreeOffloads } from '../../../lib/backend/offloads.js';
import { hostKernel, openTap, VhostUserServer, WorkerVhost } from '../../../lib/index.js';
import { agreedOffloads, headerSizeFor, offloadFeatures } from '../../../lib/net/backend-features.js';

const [path, name, netns] = process.argv.slice(2) as [string, string, string];
const kernel = hostKernel();
const tap = openTap({ name, netns });
const offered = offloadFeatures(agreeOffloads(kernel, tap.fd, true));

function say(text: string): void {
  process.stderr.write(`worker: ${text}\n`);
}

const server = VhostUserServer.listen({
  path,
  device: () => {
    const vhost = new WorkerVhost();
    vhost.on('fault', ({ queue, reason }) => say(`fault of queue ${queue}: ${reason}`));
    return {
      pairs: [{ vhost, backendFd: tap.fd }],
      backendFeatures: offered,
      agree: (features) => {
        kernel.tun.setVnetHdrSz(tap.fd, headerSizeFor(features));
        agreeOffloads(kernel, tap.fd, agreedOffloads(features));
      },
      close: () => vhost.close(),
    };
  },
});
server.on('connect', ({ connection }) => say(`process ${connection.peer.pid} connected`));
server.on('disconnect', (_, error) => say(`disconnected${error === undefined ? '' : `: ${error}`}`));
server.on('refuse', (_, request, error) => say(`refused ${request}: ${error}`));
server.on('reject', (error) => say(`turned a program away: ${error}`));
process.once('SIGTERM', async () => {
  await server.close();
  tap.close();
});
say(`listening at ${path}`);
