import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Namespace } from '../../support/device-namespace.js';
import type { End } from '../../support/numbered-frames.js';
import { resources } from '../../support/process-resources.js';
import { overWorker } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';
import type { WorkerNicData } from './programs/worker-nic.js';

const program = new URL('./programs/worker-nic.js', import.meta.url);

/** Of each Nic, in the kernel. */
const WORKERS = overWorker ? 0 : 1;

/** Who talks with whom. */
const PEERS = { a: 'b', b: 'a', c: 'd', d: 'c' } as const satisfies Record<End, End>;

interface Party {
  readonly worker: Worker;
  readonly counts: Int32Array;
}

describe('a Nic in each of four Worker threads', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  const parties = new Map<End, Party>();

  beforeEach(async () => {
    namespace = Namespace.add();
    // What the first use starts for good: the addon, the pool of threads.
    await (await namespace.nic('tap-0')).close();
  });
  afterEach(async () => {
    for (const { worker } of parties.values()) await worker.terminate();
    parties.clear();
    await namespace.remove();
  });

  async function start(): Promise<void> {
    const open: Promise<unknown>[] = [];
    for (const self of Object.keys(PEERS) as End[]) {
      const progress = new SharedArrayBuffer(8);
      const data: WorkerNicData = {
        namespace: namespace.name,
        tap: `tap-${self}`,
        self,
        peer: PEERS[self],
        progress,
      };
      const worker = new Worker(program, { workerData: data });
      parties.set(self, { worker, counts: new Int32Array(progress) });
      open.push(once(worker, 'message'));
    }
    await within('every Worker has its Nic', Promise.all(open));
    namespace.bridge('cable-1', 'tap-a', 'tap-b');
    namespace.bridge('cable-2', 'tap-c', 'tap-d');
    for (const { worker } of parties.values()) worker.postMessage('go');
  }

  const sent = (self: End) => Atomics.load(parties.get(self)!.counts, 0);
  const received = (self: End) => Atomics.load(parties.get(self)!.counts, 1);

  async function stop(self: End): Promise<void> {
    const { worker } = parties.get(self)!;
    const told = once(worker, 'message');
    const ended = once(worker, 'exit');
    worker.postMessage('stop');
    const [ledger] = await within(`Worker ${self} stops`, told);
    assert.equal(ledger.inFlight, 0);
    assert.equal(ledger.completed, ledger.submitted);
    const [status] = await within(`Worker ${self} ends`, ended);
    assert.equal(status, 0);
  }

  it('goes on when one of them is terminated amid traffic, and leaves nothing', async () => {
    await until('no worker of the kernel is left', () => resources().workers === 0);
    const before = resources();
    await start();
    const all = Object.keys(PEERS) as End[];
    await until('all of them talk', () => all.every((self) => received(self) > 500));
    assert.equal(resources().workers, 4 * WORKERS);

    const { worker } = parties.get('b')!;
    await within('the Worker is terminated', worker.terminate());
    await until('its worker in the kernel is gone', () => resources().workers === 3 * WORKERS);
    assert.doesNotMatch(namespace.ip('link'), /tap-b/);

    const then = { a: sent('a'), c: received('c'), d: received('d') };
    await until(
      'the others go on',
      () => sent('a') > then.a + 500 && received('c') > then.c + 500 && received('d') > then.d + 500,
    );
    for (const self of ['a', 'c', 'd'] as const) await stop(self);
    await until('no worker of the kernel is left', () => resources().workers === 0);
    await until('no thread is left', () => resources().threads === before.threads);
    const after = resources();
    assert.deepEqual(after.descriptors, before.descriptors);
    assert.equal(after.mappings, before.mappings);
  });

  it('leaves nothing when all of them are terminated at once', async () => {
    await until('no worker of the kernel is left', () => resources().workers === 0);
    const before = resources();
    await start();
    await until('all of them talk', () => [...parties.keys()].every((self) => received(self) > 100));
    await within(
      'the Workers are terminated',
      Promise.all([...parties.values()].map(({ worker }) => worker.terminate())),
    );
    await until('no worker of the kernel is left', () => resources().workers === 0);
    await until('no thread is left', () => resources().threads === before.threads);
    const after = resources();
    assert.deepEqual(after.descriptors, before.descriptors);
    assert.equal(after.mappings, before.mappings);
  });
});
