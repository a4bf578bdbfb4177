import type { Backend } from '../../lib/backend/backend.js';
import { openTap } from '../../lib/backend/tap.js';
import { UnixConnection } from '../../lib/socket/unix-connection.js';
import { KernelVhost } from '../../lib/vhost/kernel-vhost.js';
import type { VhostUserDevice } from '../../lib/vhost/user/device.js';
import { replyFraming, requestFraming } from '../../lib/vhost/user/protocol.js';
import { VhostUserSession } from '../../lib/vhost/user/session.js';
import type { Vhost } from '../../lib/vhost/vhost.js';
import type { FakeKernel } from './fake-kernel.js';

/** A session of the server over a device, and the other end of its socket. */
export interface SessionOnFake {
  readonly session: VhostUserSession;
  readonly frontEnd: UnixConnection;
  readonly vhosts: readonly Vhost[];
  readonly backend: Backend;
  /** Settles when the session has ended. */
  readonly ended: Promise<void>;
  /** Requests that were refused, with the error. */
  readonly refused: [string, Error][];
}

/** Starts one, in a kernel in memory, over the kernel's device or those that are given, one for each pair. */
export function startSession(
  kernel: FakeKernel,
  more: Partial<VhostUserDevice> = {},
  vhosts: readonly Vhost[] = [KernelVhost.open({ kernel })],
): SessionOnFake {
  const [back, front] = kernel.passing.pair();
  const backend = openTap({ name: 'tap%d', queues: vhosts.length }, kernel);
  const refused: [string, Error][] = [];
  const session = new VhostUserSession(
    kernel,
    new UnixConnection(kernel, back, requestFraming),
    {
      pairs: vhosts.map((vhost, i) => ({ vhost, backendFd: backend.queues[i]! })),
      ...more,
      async close() {
        for (const vhost of vhosts) await vhost.close();
        backend.close();
      },
    },
    (request, error) => refused.push([request, error as Error]),
  );
  const ended = session.run();
  // A test that cares awaits it.
  ended.catch(() => {});
  return {
    session,
    frontEnd: new UnixConnection(kernel, front, replyFraming),
    vhosts,
    backend,
    ended,
    refused,
  };
}
