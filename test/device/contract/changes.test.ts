import assert from 'node:assert/strict';
import { KernelVhost } from '../../../lib/index.js';
import {
  BUFFERS,
  ContractDevice,
  HEADER,
  PAGE,
  RX,
  TX,
  VERSION_1,
  WRITE,
} from '../../support/contract-device.js';
import { Namespace } from '../../support/device-namespace.js';
import { differs } from '../../support/differences.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { overWorker } from '../../support/test-device.js';

const LOG_ALL = 1n << 26n;
const LOG = 40 * PAGE;
const frames = new NumberedFrames(600, 'a', 'b');
const back = new NumberedFrames(600, 'b', 'a');
const FRAME = HEADER + frames.length;

describe('contract of a Vhost: what changes while it runs', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  let device: ContractDevice;

  beforeEach(() => {
    namespace = Namespace.add();
    device = new ContractDevice(namespace);
  });
  afterEach(async () => {
    await device.close();
    await namespace.remove();
  });

  async function expectSent(number: number): Promise<void> {
    const frame = await device.sent();
    frames.check(number, frame, 0, frame.length);
  }

  /** Has pages of the memory marked in a page of it; those marked so far, counted from its beginning. */
  async function startLog(): Promise<() => number[]> {
    const { region, vhost } = device;
    await vhost.setLogBase(device.page(40), { fd: region.fd, offset: LOG, size: PAGE });
    await vhost.setFeatures(VERSION_1 | LOG_ALL);
    const first = region.guestPhysicalAddress / PAGE;
    return () =>
      Array.from({ length: 8 * PAGE }, (_, page) => page)
        .filter((page) => (region.bytes[LOG + (page >> 3)]! >> (page & 7)) & 1)
        .map((page) => page - first);
  }

  it('marks the pages of a buffer that it wrote to, and no other', async () => {
    await device.start();
    const marked = await startLog();
    // Two pages of three that the buffer lies in.
    device.describe(RX, { 0: { at: BUFFERS + PAGE - 100, length: 2 * PAGE, flags: WRITE } });
    device.offer(RX, [0]);
    device.arrive(back.frame(1));
    assert.deepEqual((await device.outcome(RX, 1)).used, [[0, FRAME]]);
    assert.deepEqual(marked(), [BUFFERS / PAGE, BUFFERS / PAGE + 1]);
  });

  it('marks the used ring where that is asked for, and nothing of what it sends', async () => {
    await device.start();
    const marked = await startLog();
    device.fill(frames.frame(2));
    device.describe(TX, { 0: { at: BUFFERS, length: FRAME } });
    device.offer(TX, [0]);
    await expectSent(2);
    await device.outcome(TX, 1);
    assert.deepEqual(marked(), []);
    const log = BigInt(device.region.guestPhysicalAddress + TX * PAGE + device.usedRing);
    await device.vhost.setVringAddr(TX, { ...device.ring(TX), flags: 1, log });
    device.offer(TX, [0]);
    await expectSent(2);
    await device.outcome(TX, 2);
    assert.deepEqual(marked(), [TX]);
  });

  it('goes on where it is told of the backend that it has', async () => {
    await device.start();
    device.fill(frames.frame(5));
    device.describe(TX, { 0: { at: BUFFERS, length: FRAME } });
    for (let used = 1; used <= 3; used++) {
      device.offer(TX, [0]);
      await expectSent(5);
      const { base, failed } = await device.outcome(TX, used);
      assert.deepEqual([base, failed], [used, false]);
      await device.vhost.setBackend(TX, device.near.fd);
    }
  });

  it('is as new once its owner is reset, and serves the next', async () => {
    await device.start(VERSION_1, 5);
    await device.vhost.resetOwner();
    device.vhost.setOwner();
    for (const queue of [RX, TX]) assert.equal(await device.vhost.getVringBase(queue), 0);
    device.vhost.setMemTable(device.memory);
    await assert.rejects(async () => device.vhost.setBackend(TX, device.near.fd), {
      code: 'EFAULT',
      request: 'VHOST_NET_SET_BACKEND',
      queue: TX,
    });
    await device.vhost.resetOwner();
    await device.start();
    device.fill(frames.frame(6));
    device.describe(TX, { 0: { at: BUFFERS, length: FRAME } });
    device.offer(TX, [0]);
    await expectSent(6);
    assert.deepEqual(await device.outcome(TX, 1), { used: [[0, 0]], failed: false, base: 1 });
  });

  // Sent without being copied, frames of this length come back from the kernel too.
  if (overWorker || !KernelVhost.capabilities().zeroCopy)
    it('tells an error when the tap is deleted, and gives heads back or loses them', async () => {
      await device.start();
      device.fill(frames.frame(7));
      device.describe(TX, { 0: { at: BUFFERS, length: FRAME } });
      namespace.ip('link', 'delete', 'near');
      device.offer(TX, [0, 0]);
      const lost = differs('heads of frames to a tap that was deleted') === 'lost';
      const { used, base } = await device.outcome(TX, lost ? 0 : 2, true);
      assert.deepEqual([used.length, base], [lost ? 0 : 2, 2]);
    });
});
