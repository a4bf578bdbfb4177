import assert from 'node:assert/strict';
import { openCable } from '../../../lib/backend/cable.js';
import { programBackend } from '../../../lib/backend/program.js';
import { remoteBackend } from '../../../lib/backend/remote.js';
import { openTap } from '../../../lib/backend/tap.js';
import { DirtyLog } from '../../../lib/completion/dirty-log.js';
import { FramePool } from '../../../lib/memory/frame-pool.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { HandOver } from '../../../lib/net/hand-over.js';
import { Nic } from '../../../lib/net/nic.js';
import { Iotlb } from '../../../lib/vhost/iotlb.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { VhostUserClient } from '../../../lib/vhost/user/client.js';
import { VhostUserServer } from '../../../lib/vhost/user/server.js';
import { WorkerVhost } from '../../../lib/vhost/worker/worker-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';

describe('handles', () => {
  it('are closed as they are disposed of', () => {
    const kernel = new FakeKernel();
    const memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 16 });
    const log = new DirtyLog(kernel, 1 << 20);
    const vhost = KernelVhost.open({ kernel });
    vhost.setOwner();
    vhost.setMemTable(memory);
    const pool = new FramePool(memory, 2048, 4);
    const program = programBackend({ transmit: () => {} });
    const [one, other] = openCable({}, kernel);
    const handles = [remoteBackend(), one, other, program, openTap({}, kernel), vhost, log, pool, memory];
    for (const handle of handles) handle[Symbol.dispose]();
    kernel.assertNothingLeft();
    for (const backend of [one, other, program]) assert.equal(backend.alive(), false);
    const closed = { code: 'ERR_VHOST_CLOSED' };
    assert.throws(() => vhost.fd, closed);
    assert.throws(() => log.take(), closed);
    assert.throws(() => pool.lease(), closed);
    for (const handle of handles) handle[Symbol.dispose]();
    kernel.assertNothingLeft();
  });

  it('have one symbol or the other, all of them', () => {
    for (const handle of [GuestMemory, FramePool, DirtyLog, KernelVhost, VhostUserClient, Iotlb, HandOver])
      assert.equal(typeof handle.prototype[Symbol.dispose], 'function', handle.name);
    for (const handle of [Nic, WorkerVhost, VhostUserServer])
      assert.equal(typeof handle.prototype[Symbol.asyncDispose], 'function', handle.name);
  });
});
