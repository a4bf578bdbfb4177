import assert from 'node:assert/strict';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { WorkerSearch } from '../../../lib/vhost/kernel-worker.js';
import { FakeKernel } from '../../support/fake-kernel.js';

function owned(kernel: FakeKernel): KernelVhost {
  const vhost = KernelVhost.open({ kernel });
  vhost.setOwner();
  return vhost;
}

describe('the kernel’s worker of a device', () => {
  it('is the task that the owner gained, and each device has its own', () => {
    const kernel = new FakeKernel();
    const first = owned(kernel);
    const second = owned(kernel);
    assert.deepEqual(first.worker(), { pid: 2001, name: 'vhost-1000', kind: 'task' });
    assert.deepEqual(second.worker(), { pid: 2002, name: 'vhost-1000', kind: 'task' });
    first.close();
    assert.equal(first.worker(), undefined);
    second.close();
    kernel.assertNothingLeft();
  });

  it('is a kernel thread before 6.4', () => {
    const kernel = new FakeKernel({ taskWorkers: false });
    const [first, second] = [owned(kernel), owned(kernel)];
    assert.deepEqual(first.worker(), { pid: 2001, name: 'vhost-1000', kind: 'kernel thread' });
    assert.deepEqual(second.worker(), { pid: 2002, name: 'vhost-1000', kind: 'kernel thread' });
  });

  it('is one where fork-from-owner says so', () => {
    const kernel = new FakeKernel({ forkControl: true });
    const vhost = KernelVhost.open({ kernel });
    vhost.setForkFromOwner(0);
    vhost.setOwner();
    assert.equal(vhost.worker()?.kind, 'kernel thread');
  });

  it('comes with an owner and goes with it', () => {
    const vhost = KernelVhost.open({ kernel: new FakeKernel() });
    assert.equal(vhost.worker(), undefined);
    vhost.setOwner();
    assert.equal(vhost.worker()?.pid, 2001);
    vhost.resetOwner();
    assert.equal(vhost.worker(), undefined);
    vhost.setOwner();
    assert.equal(vhost.worker()?.pid, 2002);
  });

  it('is told by its name from one that another thread started meanwhile', () => {
    const { files } = new FakeKernel();
    const search = new WorkerSearch(files);
    files.set('/proc/self/task/3001/comm', 'vhost-1007\n');
    files.set('/proc/self/task/3002/comm', 'vhost-1000\n');
    files.set('/proc/self/task/3003/comm', 'libuv-worker\n');
    assert.deepEqual(search.find(), { pid: 3002, name: 'vhost-1000', kind: 'task' });
  });

  it('is told in a container, where the name has a number of the host’s', () => {
    const { files } = new FakeKernel();
    const search = new WorkerSearch(files);
    files.set('/proc/self/task/12/comm', 'vhost-88123\n');
    assert.deepEqual(search.find(), { pid: 12, name: 'vhost-88123', kind: 'task' });
    files.set('/proc/self/task/13/comm', 'vhost-88124\n');
    assert.equal(search.find(), undefined, 'either may be');
  });

  it('is not told where another process’s kernel thread may be meant', () => {
    const { files } = new FakeKernel({ taskWorkers: false });
    const search = new WorkerSearch(files);
    files.set('/proc/3001/comm', 'vhost-77\n');
    files.set('/proc/3002/comm', 'kworker/0:1\n');
    assert.equal(search.find(), undefined);
    files.set('/proc/3003/comm', 'vhost-1000\n');
    assert.equal(search.find()?.pid, 3003);
    files.set('/proc/thread-self/stat', undefined);
    assert.equal(search.find(), undefined, 'without /proc there is no name to compare with');
  });

  it('is not told where a task vanishes or the refusal left no worker', () => {
    const kernel = new FakeKernel();
    const vhost = owned(kernel);
    const worker = vhost.worker();
    assert.throws(() => vhost.setOwner(), { code: 'EBUSY' });
    assert.deepEqual(vhost.worker(), worker, 'the one it has stays');
    kernel.files.set('/proc/self/task/2001/comm', undefined);
    assert.equal(new WorkerSearch(kernel.files).find(), undefined);
  });
});
