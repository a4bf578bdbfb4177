import assert from 'node:assert/strict';
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostKernel } from '../../../lib/kernel/host.js';
import type { Kernel } from '../../../lib/kernel/kernel.js';
import { UnixConnection } from '../../../lib/socket/unix-connection.js';
import { UnixListener } from '../../../lib/socket/unix-listener.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { turn } from '../../support/until.js';
import { openDescriptors } from '../native/process-state.js';
import { byteFraming, message } from './byte-framing.js';

describe('unix listener', () => {
  const kernel = hostKernel();
  let folder: ReturnType<typeof temporaryFolder>;
  let path: string;
  let before: number;
  beforeEach(() => {
    folder = temporaryFolder();
    path = join(folder.path, 'socket');
    before = openDescriptors().size;
  });
  afterEach(async () => {
    await turn();
    assert.equal(openDescriptors().size, before, 'nothing stays open');
    folder.remove();
  });

  it('accepts peers, those that came before and those that come after', async () => {
    const listener = UnixListener.listen(kernel, path, byteFraming);
    const early = UnixConnection.connect(kernel, path, byteFraming);
    const first = (await listener.accept())!;
    const waiting = listener.accept();
    await turn();
    const late = UnixConnection.connect(kernel, path, byteFraming);
    const second = (await waiting)!;
    await late.send(message(9));
    assert.deepEqual([...(await second.receive())!.bytes], [1, 9]);
    assert.equal(first.peer.pid, process.pid);
    for (const connection of [early, first, late, second]) connection.close();
    listener.close();
  });

  it('ends the wait and removes its socket when it is closed', async () => {
    const listener = UnixListener.listen(kernel, path, byteFraming);
    const waiting = listener.accept();
    listener.close();
    listener.close();
    assert.equal(await waiting, undefined);
    assert.equal(await listener.accept(), undefined);
    assert.throws(() => statSync(path), { code: 'ENOENT' });
  });

  it('leaves a socket alone that took the place of its own', () => {
    const listener = UnixListener.listen(kernel, path, byteFraming);
    renameSync(path, `${path}.old`);
    const other = UnixListener.listen(kernel, path, byteFraming);
    listener.close();
    assert.ok(statSync(path).isSocket());
    other.close();
  });

  it('takes the place of a socket that nobody listens to, and of nothing else', () => {
    kernel.descriptor.close(kernel.passing.listen(path, 0o600, 1));
    const listener = UnixListener.listen(kernel, path, byteFraming);
    assert.throws(() => UnixListener.listen(kernel, path, byteFraming), { code: 'EADDRINUSE' });
    listener.close();
    writeFileSync(path, 'a file');
    assert.throws(() => UnixListener.listen(kernel, path, byteFraming), { code: 'EADDRINUSE' });
    assert.equal(statSync(path).size, 6);
    rmSync(path);
  });

  it('leaves a socket in its place that another server made there while this one looked', async () => {
    kernel.descriptor.close(kernel.passing.listen(path, 0o600, 1));
    let other: UnixListener | undefined;
    const { connect } = kernel.passing;
    const slow: Kernel = {
      ...kernel,
      passing: {
        ...kernel.passing,
        connect(at) {
          try {
            return connect(at);
          } finally {
            // Nobody listened, and now somebody does.
            other ??= UnixListener.listen(kernel, path, byteFraming);
          }
        },
      },
    };
    assert.throws(() => UnixListener.listen(slow, path, byteFraming), { code: 'EADDRINUSE' });
    const peer = UnixConnection.connect(kernel, path, byteFraming);
    (await other!.accept())!.close();
    assert.deepEqual(readdirSync(folder.path), ['socket']);
    peer.close();
    other!.close();
  });

  it('gives the socket exactly the mode and the owner asked for', () => {
    const gid = process.getuid!() === 0 ? 12 : process.getgid!();
    const listener = UnixListener.listen(kernel, path, byteFraming, { mode: 0o666, gid });
    const { mode, gid: group } = statSync(path);
    assert.equal(mode & 0o777, 0o666);
    assert.equal(group, gid);
    listener.close();
  });

  it('closes though its socket can no longer be removed', () => {
    const listener = UnixListener.listen(kernel, path, byteFraming);
    // What lstat(2) and unlink(2) refuse otherwise than with ENOENT.
    renameSync(folder.path, `${folder.path}.old`);
    writeFileSync(folder.path, 'no folder');
    listener.close();
    rmSync(folder.path);
    renameSync(`${folder.path}.old`, folder.path);
  });

  it('leaves nothing behind where it cannot be set up', () => {
    assert.throws(() => UnixListener.listen(kernel, path, byteFraming, { mode: 0o1777 }), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
    });
    const missing = join(folder.path, 'missing', 'socket');
    assert.throws(() => UnixListener.listen(kernel, missing, byteFraming), { code: 'ENOENT' });
  });
});
