import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { KernelVhost, type KernelWorker } from '../../lib/index.js';
import { until } from '../support/until.js';

/** The name of a thread or process, as the kernel has it. */
function comm({ pid, kind }: KernelWorker): string {
  const folder = kind === 'task' ? '/proc/self/task' : '/proc';
  return readFileSync(`${folder}/${pid}/comm`, 'utf8').trim();
}

/** The pid of the parent: 2 of a kernel thread. */
function parent(pid: number): number {
  return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

describe('the kernel’s worker of a real device', function () {
  this.timeout(300_000);
  const devices: KernelVhost[] = [];
  const forkable = (): boolean => KernelVhost.capabilities().forkFromOwner !== undefined;

  afterEach(() => {
    for (const device of devices.splice(0)) device.close();
  });

  function open(fork?: number): KernelVhost {
    const device = KernelVhost.open();
    devices.push(device);
    assert.equal(device.worker(), undefined, 'there is none before there is an owner');
    if (fork !== undefined) device.setForkFromOwner(fork);
    device.setOwner();
    return device;
  }

  it('is told by pid and name, each device’s own', async () => {
    const workers = [open(), open(), open()].map((device) => device.worker());
    assert.equal(new Set(workers.map((worker) => worker?.pid)).size, 3);
    for (const worker of workers) {
      assert.ok(worker);
      assert.equal(worker.name, `vhost-${process.pid}`);
      assert.equal(comm(worker), worker.name);
      assert.equal(existsSync(`/proc/self/task/${worker.pid}`), worker.kind === 'task');
      if (worker.kind === 'kernel thread') assert.equal(parent(worker.pid), 2);
    }
    for (const device of devices) device.close();
    for (const worker of workers)
      await until('the worker is gone', () => !existsSync(`/proc/${worker!.pid}/comm`));
  });

  it('goes with VHOST_RESET_OWNER, and comes with the next owner', async () => {
    const device = open();
    const before = device.worker();
    device.resetOwner();
    assert.equal(device.worker(), undefined);
    await until('the worker is gone', () => !existsSync(`/proc/${before!.pid}/comm`));
    device.setOwner();
    assert.equal(comm(device.worker()!), `vhost-${process.pid}`);
  });

  it('is what VHOST_SET_FORK_FROM_OWNER says, where the kernel has it', () => {
    if (!forkable()) {
      assert.throws(() => open(1), { code: 'ERR_VHOST_UNSUPPORTED', request: 'VHOST_SET_FORK_FROM_OWNER' });
      return;
    }
    for (const [fork, kind] of [
      [1, 'task'],
      [0, 'kernel thread'],
    ] as const) {
      const worker = open(fork).worker();
      assert.equal(worker?.kind, kind);
      assert.equal(comm(worker!), `vhost-${process.pid}`);
    }
  });

  it('is told apart where Worker threads open devices at the same time', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      const { readFileSync } = require('node:fs');
      import(${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)}).then(({ KernelVhost }) => {
        const found = [];
        for (let i = 0; i < 20; i++) {
          const device = KernelVhost.open();
          device.setOwner();
          found.push(device.worker()?.name);
          device.close();
        }
        parentPort.postMessage([readFileSync('/proc/thread-self/stat', 'utf8').split(' ')[0], found]);
      });`;
    const threads = Array.from({ length: 3 }, () => new Worker(program, { eval: true }));
    const told = await Promise.all(
      threads.map(
        (thread) =>
          new Promise<[string, string[]]>((resolve, reject) =>
            thread.once('message', resolve).once('error', reject),
          ),
      ),
    );
    for (const [tid, names] of told) assert.deepEqual(new Set(names), new Set([`vhost-${tid}`]));
    assert.equal(new Set(told.map(([tid]) => tid)).size, threads.length);
    for (const thread of threads) await thread.terminate();
  });
});
