// Gives a guest the device of another process, such as a switch, and sees every frame on its way:
//
//   REMOTE=/run/switch.sock npx vhost-net proxy --socket /run/vm0.sock --program relay.mjs
import { Nic, remoteBackend, VhostUserClient } from 'vhost-net';

/** @type {import('vhost-net').ProxyProgramFactory} */
export default async ({ deliver, signal }) => {
  const vhost = await VhostUserClient.connect({ path: process.env.REMOTE ?? '/run/switch.sock' });
  const nic = await Nic.open({ vhost, backend: remoteBackend() });
  signal.addEventListener('abort', () => void nic.close());
  void (async () => {
    for await (const batch of nic.receive()) for (const frame of batch) deliver(frame);
  })();
  return { transmit: (frame) => nic.send(frame) };
};
