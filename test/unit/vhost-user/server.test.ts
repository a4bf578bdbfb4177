import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { hostKernel } from '../../../lib/kernel/host.js';
import { UnixConnection } from '../../../lib/socket/unix-connection.js';
import { VhostUserClient } from '../../../lib/vhost/user/client.js';
import type { VhostUserDevice } from '../../../lib/vhost/user/device.js';
import { replyFraming } from '../../../lib/vhost/user/protocol.js';
import { VhostUserServer } from '../../../lib/vhost/user/server.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { turn } from '../../support/until.js';
import { openDescriptors } from '../native/process-state.js';

/** What a client hears of a server that is gone: before it noticed, and after. */
const LOST = /^(ERR_VHOST_CLOSED|EPIPE|ECONNRESET|ENOENT)$/;

describe('vhost-user server', () => {
  const kernel = hostKernel();
  let folder: ReturnType<typeof temporaryFolder>;
  let path: string;
  let before: number;
  let closed: number;

  /** A device of no queues: enough to talk about features. */
  const device = (): VhostUserDevice => ({
    pairs: [],
    close: () => {
      closed++;
    },
  });

  beforeEach(() => {
    folder = temporaryFolder();
    path = join(folder.path, 'socket');
    before = openDescriptors().size;
    closed = 0;
  });
  afterEach(async () => {
    await turn();
    assert.equal(openDescriptors().size, before, 'nothing stays open');
    folder.remove();
  });

  it('gives each front-end a device, and closes it when the front-end leaves', async () => {
    const server = VhostUserServer.listen({ path, device, kernel, mode: 0o660 });
    assert.equal(statSync(path).mode & 0o777, 0o660);
    const connected = once(server, 'connect');
    const first = await VhostUserClient.connect({ path, kernel });
    const [session] = await connected;
    assert.equal(session.connection.peer.pid, process.pid);
    const second = await VhostUserClient.connect({ path, kernel });
    const gone = once(server, 'disconnect');
    first.close();
    assert.deepEqual(await gone, [session, undefined]);
    assert.equal(closed, 1);
    await second.getFeatures();
    await server.close();
    assert.equal(closed, 2);
    await assert.rejects(second.getFeatures(), { code: LOST });
    second.close();
  });

  it('turns away a front-end for which there is no device, and serves the next', async () => {
    let free = false;
    await using server = VhostUserServer.listen({
      path,
      kernel,
      device: () => {
        if (!free) throw new Error('none left');
        return device();
      },
    });
    const rejected = once(server, 'reject');
    await assert.rejects(VhostUserClient.connect({ path, kernel }), {
      code: /ERR_VHOST_CLOSED|EPIPE|ECONNRESET/,
    });
    assert.equal((await rejected)[0].message, 'none left');
    free = true;
    (await VhostUserClient.connect({ path, kernel })).close();
  });

  it('serves on after a peer that talks nonsense', async () => {
    await using server = VhostUserServer.listen({ path, device, kernel });
    const well = await VhostUserClient.connect({ path, kernel });
    const hostile = UnixConnection.connect(kernel, path, replyFraming);
    const rejected = once(server, 'reject');
    await hostile.send(new Uint8Array(64).fill(0xff));
    assert.equal((await rejected)[0].code, 'ERR_VHOST_PROTOCOL');
    assert.equal(await hostile.receive().catch(() => undefined), undefined);
    hostile.close();
    assert.equal(await well.getFeatures(), await well.getFeatures());
    well.close();
  });

  it('gives a device back that comes when the server is closed already', async () => {
    let give: (device: VhostUserDevice) => void = () => {};
    const asked = new EventEmitter();
    const server = VhostUserServer.listen({
      path,
      kernel,
      device: () => {
        asked.emit('asked');
        return new Promise((resolve) => {
          give = resolve;
        });
      },
    });
    server.on('connect', ({ connection }) => assert.fail(`process ${connection.peer.pid} connected`));
    const waiting = once(asked, 'asked');
    const client = VhostUserClient.connect({ path, kernel });
    await waiting;
    const closing = server.close();
    await assert.rejects(client, { code: LOST });
    give(device());
    await closing;
    assert.equal(closed, 1);
  });

  it('takes nobody for a front-end who says nothing, such as another server that wants the socket', async () => {
    await using server = VhostUserServer.listen({
      path,
      kernel,
      device: () => assert.fail('a device is asked for'),
    });
    server.on('reject', (error) => assert.fail(String(error)));
    assert.throws(() => VhostUserServer.listen({ path, device, kernel }), { code: 'EADDRINUSE' });
    for (let i = 0; i < 5; i++) await turn();
  });

  it('is found again by a client whose server was started anew', async () => {
    const server = VhostUserServer.listen({ path, device, kernel });
    const client = await VhostUserClient.connect({ path, kernel });
    await client.setOwner();
    await server.close();
    await assert.rejects(client.getFeatures(), { code: LOST });
    const again = VhostUserServer.listen({ path, device, kernel });
    await client.getFeatures();
    client.close();
    await again.close();
  });
});
