import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kernel } from '../../lib/kernel/kernel.js';
import { UnixListener } from '../../lib/socket/unix-listener.js';
import { within } from './until.js';

/** Opens sockets of kinds that Node cannot, and passes them on. */
const PROGRAM = `
import socket, sys
passing = socket.socket(socket.AF_UNIX)
passing.connect(sys.argv[1])
made = [eval(kind, vars(socket).copy()) for kind in sys.argv[2:]]
socket.send_fds(passing, [b'.'], [one.fileno() for one in made])
`;

/** Sockets of these kinds, such as 'socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)'; descriptors that are the caller's to close. */
export async function foreignSockets(
  kernel: Kernel,
  ...kinds: readonly string[]
): Promise<readonly number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sockets-'));
  const path = join(folder, 'socket');
  const framing = { headerSize: 1, maxPayload: 0, maxDescriptors: kinds.length, payloadSize: () => 0 };
  const listener = UnixListener.listen(kernel, path, framing);
  try {
    // The system's own, with nothing beside its library: it begins at once, also under emulation.
    const env = { ...process.env, PATH: `/usr/bin:${process.env.PATH}` };
    spawn('python3', ['-I', '-S', '-c', PROGRAM, path, ...kinds], { stdio: 'inherit', env });
    const connection = (await within('the sockets are made', listener.accept()))!;
    try {
      return (await within('the sockets come', connection.receive()))!.fds;
    } finally {
      connection.close();
    }
  } finally {
    listener.close();
    rmSync(folder, { recursive: true });
  }
}
