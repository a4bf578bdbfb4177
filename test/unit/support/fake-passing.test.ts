import assert from 'node:assert/strict';
import { FakeKernel } from '../../support/fake-kernel.js';

describe('fake kernel: unix sockets', () => {
  const path = '/run/socket';
  let kernel: FakeKernel;
  beforeEach(() => {
    kernel = new FakeKernel();
  });
  afterEach(() => {
    for (const { fd } of kernel.openDescriptors()) kernel.descriptor.close(fd);
    kernel.assertNothingLeft();
  });

  it('connects where somebody listens, and nowhere else', async () => {
    const { passing } = kernel;
    assert.throws(() => passing.connect(path), { code: 'ENOENT', syscall: 'connect', path });
    const listener = passing.listen(path, 0o600, 1);
    assert.throws(() => passing.listen(path, 0o600, 1), { code: 'EADDRINUSE', syscall: 'bind', path });
    assert.throws(() => passing.accept(listener), { code: 'EAGAIN' });
    const waiting = new Promise((resolve) => {
      const watch = kernel.poller.watchReadable(listener, (error) => {
        watch.close();
        resolve(error);
      });
    });
    passing.connect(path);
    passing.connect(path);
    assert.throws(() => passing.connect(path), { code: 'EAGAIN' });
    assert.equal(await waiting, false);
    passing.accept(listener);
    assert.throws(() => passing.accept(kernel.eventfd.create()), { code: 'EINVAL' });
  });

  it('a stream ends with its other end, after what was sent', () => {
    const { passing, descriptor } = kernel;
    const [first, second] = passing.pair();
    passing.send(first, new Uint8Array([1, 2, 3]), []);
    descriptor.close(first);
    const buffer = new Uint8Array(2);
    assert.equal(passing.receive(second, buffer).size, 2);
    assert.equal(passing.receive(second, buffer).size, 1);
    assert.equal(passing.receive(second, buffer).size, 0);
    assert.throws(() => passing.send(second, buffer, []), { code: 'EPIPE' });
  });

  it('descriptors come with the first byte, as new ones of the same file', () => {
    const { passing, eventfd } = kernel;
    const [first, second] = passing.pair();
    const event = eventfd.create();
    passing.send(first, new Uint8Array([1]), []);
    passing.send(first, new Uint8Array([2, 3]), [event]);
    passing.send(first, new Uint8Array([4]), []);
    const { size, fds } = passing.receive(second, new Uint8Array(8));
    assert.deepEqual([size, fds.length], [3, 1]);
    eventfd.signal(fds[0]!);
    assert.equal(eventfd.take(event), 1);
    assert.deepEqual(passing.receive(second, new Uint8Array(8)), { size: 1, fds: [] });
    assert.throws(() => passing.receive(second, new Uint8Array(8)), { code: 'EAGAIN' });
  });

  it('a stream that is full takes more once it was read', async () => {
    const { passing, poller } = kernel;
    const [first, second] = passing.pair();
    const block = new Uint8Array(150_000);
    assert.equal(passing.send(first, block, []), 150_000);
    assert.equal(passing.send(first, block, []), 50_000);
    assert.throws(() => passing.send(first, block, []), { code: 'EAGAIN' });
    let writable = false;
    const watch = poller.watchWritable(first, () => {
      writable = true;
    });
    await kernel.idle();
    assert.equal(writable, false);
    passing.receive(second, block);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.equal(writable, true);
    watch.close();
  });

  it('a file lives as long as it is on the way', () => {
    const { passing, descriptor, eventfd } = kernel;
    const [first, second] = passing.pair();
    const event = eventfd.create();
    eventfd.signal(event);
    passing.send(first, new Uint8Array([1]), [event]);
    descriptor.close(event);
    const { fds } = passing.receive(second, new Uint8Array(1));
    assert.equal(eventfd.take(fds[0]!), 1);
  });
});
