import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { KernelVhost, type KernelWorker, type Nic, type NicPair } from '../../../lib/index.js';
import { handFrame } from '../../../lib/memory/frame-pool.js';
import { Cable } from '../../support/device-cable.js';
import { Namespace } from '../../support/device-namespace.js';
import { EchoFlow, echoReply } from '../../support/icmp-echo.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { resources } from '../../support/process-resources.js';
import { onKernel, overWorker } from '../../support/test-device.js';
import { turn, until, within } from '../../support/until.js';
import type { WorkerPairData } from './programs/worker-pair.js';

const PAIRS = 4;
const FLOWS = 16;
const NETWORK = [192, 0, 2] as const;
const MAC = '02:00:00:00:00:0a';
/** The last byte of the address that a flow asks from. */
const source = (flow: number): number => 10 + flow;

/** Gives the far end of a tap an address, and the neighbours that will ask it for echoes. */
function answer(namespace: Namespace, tap: string): void {
  namespace.ip('address', 'add', `${NETWORK.join('.')}.1/24`, 'dev', tap);
  for (let flow = 0; flow < FLOWS; flow++)
    namespace.ip(
      ...['neigh', 'replace', `${NETWORK.join('.')}.${source(flow)}`, 'lladdr', MAC, 'dev', tap],
      ...['nud', 'permanent'],
    );
}

/** Where the kernel tells of a worker. */
function folder({ kind, pid }: KernelWorker): string {
  return kind === 'task' ? `/proc/self/task/${pid}` : `/proc/${pid}`;
}

/** Nanoseconds for which a thread has had a processor. */
function timeOf(worker: KernelWorker): number {
  return Number(readFileSync(`${folder(worker)}/schedstat`, 'utf8').split(' ')[0]);
}

describe('queue pairs', function () {
  this.timeout(300_000);
  let namespace: Namespace;

  beforeEach(() => {
    namespace = Namespace.add();
  });
  afterEach(() => namespace.remove());

  describe('four on one thread', () => {
    let nic: Nic;

    beforeEach(async () => {
      nic = await namespace.nic('tap-q', { queuePairs: PAIRS, queueSize: 64 });
    });

    it('get the frames of a flow on the pair that sends it, wherever that moves', async () => {
      answer(namespace, 'tap-q');
      const { mac } = nic.backend.interface;
      const flows = Array.from({ length: FLOWS }, (_, i) => new EchoFlow(NETWORK, source(i), MAC, mac));
      /** The pair on which the last answer of a flow came, and which answer that was. */
      const came = new Map<number, { pair: number; sequence: number }>();
      const receiving = nic.pairs.map(async (pair) => {
        for await (const batch of pair.receive())
          for (const frame of batch) {
            const reply = echoReply(frame);
            if (reply) came.set(reply.source, { pair: pair.index, sequence: reply.sequence });
          }
      });
      let sequence = 0;
      /** Each flow asks once, on the pair that is its own; whether every answer came on that pair. */
      const round = async (own: (flow: number) => number): Promise<boolean> => {
        const asked = ++sequence;
        for (const [i, flow] of flows.entries()) await nic.pairs[own(i)]!.send(flow.request(asked));
        await until(`every answer ${asked} is there`, () =>
          flows.every((flow) => came.get(flow.source)?.sequence === asked),
        );
        return flows.every((flow, i) => came.get(flow.source)!.pair === own(i));
      };
      // The tap learns from a frame where its flow belongs, and forgets it after a while without any.
      for (const shift of [0, 1, 3])
        for (let inTurn = 0; inTurn < 8; )
          inTurn = (await round((flow) => (flow + shift) % PAIRS)) ? inTurn + 1 : 0;

      // An answer may come before the device has returned what asked for it.
      await nic.drain();
      const stats = nic.stats();
      for (const { transmit, receive } of stats.pairs) {
        assert.ok(transmit.completed >= (3 * 8 * FLOWS) / PAIRS, `${transmit.completed} completed`);
        assert.ok(receive.frames >= (3 * 8 * FLOWS) / PAIRS, `${receive.frames} received`);
      }
      const total = (count: (pair: (typeof stats.pairs)[0]) => number): number =>
        stats.pairs.reduce((sum, pair) => sum + count(pair), 0);
      assert.equal(
        stats.transmit.completed,
        total(({ transmit }) => transmit.completed),
      );
      assert.equal(stats.transmit.completed, sequence * FLOWS);
      assert.equal(
        stats.receive.frames,
        total(({ receive }) => receive.frames),
      );
      await nic.close();
      await Promise.all(receiving);
    });

    onKernel(() => {
      it('have a worker of the kernel each, to pin and to time', async () => {
        const workers = await Promise.all(nic.pairs.map((pair) => pair.worker()));
        assert.equal(new Set(workers.map((worker) => worker!.pid)).size, PAIRS);
        for (const worker of workers) {
          assert.equal(worker!.name, `vhost-${process.pid}`);
          assert.equal(readFileSync(`${folder(worker!)}/comm`, 'utf8').trim(), worker!.name);
        }
        const third = workers[2]!;
        execFileSync('taskset', ['-pc', '0', String(third.pid)], { stdio: 'pipe' });
        assert.match(readFileSync(`${folder(third)}/status`, 'utf8'), /^Cpus_allowed_list:\t0$/m);
        const before = workers.map((worker) => timeOf(worker!));
        const frames = new NumberedFrames(600, 'a', 'b');
        for (let i = 0; i < 20; i++)
          await nic.pairs[2]!.submit(Array.from({ length: 32 }, (_, n) => frames.frame(32 * i + n)))
            .completed;
        const spent = workers.map((worker, i) => timeOf(worker!) - before[i]!);
        for (const pair of [0, 1, 3]) assert.ok(spent[2]! > spent[pair]!, `${spent} ns: pair 2 did the work`);
      });
    });

    it('go on where one fails, which is told and starts again', async () => {
      const errors: (Error & { code?: string; pair?: number; queue?: number })[] = [];
      nic.on('error', (error) => errors.push(error));
      const { tx } = nic.pairs[1]!;
      const buffer = nic.pool.lease();
      // An address that is in no region: the kernel's worker gives up on the queue.
      const head = tx.ring.post(0, 64, 72, false);
      handFrame(nic.pool, buffer);
      tx.ledger.submit(head, 72, buffer);
      tx.flush();
      await until('the error is told', () => errors.length > 0);
      assert.deepEqual(
        errors.map(({ code, pair, queue }) => [code, pair, queue]),
        [['ERR_VHOST_QUEUE_ERROR', 1, 1]],
      );
      const frames = new NumberedFrames(60, 'a', 'b');
      for (const pair of [0, 2, 3])
        assert.equal((await nic.pairs[pair]!.submit([frames.frame(pair)]).completed).completed, 1);
      await assert.rejects(nic.pairs[1]!.send(frames.frame(1)), { code: 'ERR_VHOST_QUEUE_ERROR', pair: 1 });
      await nic.pairs[1]!.enable();
      assert.equal((await nic.pairs[1]!.submit([frames.frame(1)]).completed).completed, 1);
    });

    it('can all be taken out, and the tap is still known', async () => {
      for (const pair of nic.pairs) await pair.disable();
      assert.equal(nic.backend.alive(), true);
      await assert.rejects(nic.send(new Uint8Array(60)), { code: 'ERR_VHOST_DISABLED' });
      for (const pair of nic.pairs) await pair.enable();
      assert.equal((await nic.submit([new Uint8Array(60)]).completed).completed, 1);
      for (const pair of nic.pairs) await pair.disable();
      const told = once(nic, 'error');
      namespace.ip('link', 'del', 'tap-q');
      const [error] = await within('the end of the tap is told', told);
      assert.equal((error as { code?: string }).code, 'ERR_VHOST_BACKEND_GONE');
      assert.equal(nic.backend.alive(), false);
    });
  });

  it('come and go while traffic runs both ways, and every frame that completed has come', async () => {
    const cable = await Cable.lay({ queuePairs: PAIRS, queueSize: 64 }, { queueSize: 256 }, namespace);
    const { a, b } = cable;
    const frames = new NumberedFrames(200, 'a', 'b');
    const BATCH = 16;
    const completed = Array.from({ length: PAIRS }, () => 0);
    const arrived = Array.from({ length: PAIRS }, () => 0);
    const receiving = (async () => {
      for await (const batch of b.receive())
        for (const frame of batch) {
          // Of each pair's frames the next: the number says of which pair it is the how manieth.
          const pair = frames.number(frame) % PAIRS;
          frames.check(arrived[pair]! * PAIRS + pair, frame);
          arrived[pair]!++;
        }
    })();
    const back = new NumberedFrames(200, 'b', 'a');
    const came = new Set<number>();
    const taking = (async () => {
      for await (const batch of a.receive())
        for (const frame of batch) {
          const number = back.number(frame);
          back.check(number, frame);
          assert.ok(!came.has(number), `frame ${number} comes once`);
          came.add(number);
        }
    })();
    let stopping = false;
    /** Counts each begin and end of a disable, in which the kernel drops what waits in the queue that goes. */
    let drops = 0;
    /** Batches that came back whole. */
    let whole = 0;
    const answers = async (): Promise<void> => {
      for (let sent = 0; !stopping; sent += BATCH) {
        const before = drops;
        const numbers = Array.from({ length: BATCH }, (_, i) => sent + i);
        await b.submit(numbers.map((number) => back.frame(number))).completed;
        const all = (): boolean => numbers.every((number) => came.has(number));
        await until('the frames come back, unless a queue went meanwhile', () => all() || drops !== before);
        if (all()) whole++;
      }
    };
    const comeBack = async (): Promise<void> => {
      const before = whole;
      await until('frames come back', () => whole >= before + 2);
    };
    const stream = async (pair: NicPair): Promise<void> => {
      for (let posted = 0; !stopping; ) {
        if (!pair.enabled) {
          await turn();
          continue;
        }
        const batch = Array.from({ length: BATCH }, (_, i) =>
          frames.frame((posted + i) * PAIRS + pair.index),
        );
        const result = await pair.submit(batch).completed;
        assert.deepEqual(result, { completed: BATCH, abandoned: 0, withdrawn: 0 });
        posted += BATCH;
        completed[pair.index] = posted;
        // The far tap holds 1,000 frames: never so many are on their way.
        await until('the frames of the pair have come', () => arrived[pair.index] === posted);
      }
    };
    const streams = [...a.pairs.map(stream), answers()];
    await until('all pairs carry frames', () => arrived.every((count) => count >= 2 * BATCH));
    for (let i = 0; i < 12; i++) {
      const pair = a.pairs[i % PAIRS]!;
      drops++;
      await within(`pair ${pair.index} is out`, pair.disable());
      drops++;
      await comeBack();
      const others = arrived.map((count) => count);
      await until('the others go on', () =>
        arrived.every((count, each) => each === pair.index || count >= others[each]! + BATCH),
      );
      const resting = arrived[pair.index]!;
      await within(`pair ${pair.index} is in`, pair.enable());
      await until(`pair ${pair.index} goes on`, () => arrived[pair.index]! >= resting + BATCH);
      await comeBack();
    }
    stopping = true;
    await Promise.all(streams);
    assert.deepEqual(arrived, completed);
    assert.equal(a.stats().transmit.abandoned, 0);
    assert.ok(
      a.pairs.filter((pair) => pair.stats().receive.frames > 0).length > 1,
      'pairs took turns to receive',
    );
    await a.close();
    await b.close();
    await Promise.all([receiving, taking]);
  });

  onKernel(() => {
    it('have the kind of worker that was chosen, or cannot choose and say since when one can', async () => {
      const { forkFromOwner } = KernelVhost.capabilities();
      for (const worker of ['kernel thread', 'task'] as const) {
        const opening = namespace.nic('tap-k', { queuePairs: 2, queueSize: 8, worker });
        if (forkFromOwner === undefined) {
          await assert.rejects(opening, {
            code: 'ERR_VHOST_UNSUPPORTED',
            request: 'VHOST_SET_FORK_FROM_OWNER',
            message: /Linux 6\.17 and later/,
          });
          continue;
        }
        const chosen = await opening;
        for (const pair of chosen.pairs) {
          assert.equal((await pair.worker())!.kind, worker);
          assert.equal((await pair.submit([new Uint8Array(60)]).completed).completed, 1);
        }
        await chosen.close();
      }
    });
  });

  it('may be opened each in a Worker of its own, which joins the tap by its name', async () => {
    // What keeps the tap while Workers come and go.
    const owner = await namespace.nic('tap-w', { tap: { multiQueue: true }, queueSize: 8 });
    answer(namespace, 'tap-w');
    const { mac } = owner.backend.interface;
    await owner.pairs[0]!.disable();
    const parties = await Promise.all(
      Array.from({ length: 3 }, async (_, i) => {
        const counts = new SharedArrayBuffer(8);
        const data: WorkerPairData = {
          namespace: namespace.name,
          tap: 'tap-w',
          flow: [NETWORK, source(i), MAC, mac],
          counts,
        };
        const worker = new Worker(new URL('./programs/worker-pair.js', import.meta.url), {
          workerData: data,
        });
        const [pid] = await within('the Worker has its queue', once(worker, 'message'));
        return { worker, pid, counts: new Int32Array(counts) };
      }),
    );
    if (!overWorker) assert.equal(new Set(parties.map(({ pid }) => pid)).size, 3);
    for (const { worker } of parties) worker.postMessage('go');
    const own = (counts: Int32Array): number => Atomics.load(counts, 0);
    const others = (counts: Int32Array): number => Atomics.load(counts, 1);
    for (const { counts } of parties) {
      // What came elsewhere before the tap had learnt of a flow does not count.
      await until('its answers come to the Worker that asked, and to no other', async () => {
        const [answered, strayed] = [own(counts), others(counts)];
        await until('more answers come', () => own(counts) >= answered + 50);
        return others(counts) === strayed;
      });
    }
    for (const { worker } of parties) {
      const closed = once(worker, 'exit');
      worker.postMessage('stop');
      assert.deepEqual(await within('the Worker ends', closed), [0]);
    }
  });

  it('leave nothing behind', async () => {
    await (await namespace.nic('tap-0')).close();
    await until('no worker of the kernel is left', () => resources().workers === 0);
    const before = resources();
    for (let i = 0; i < 5; i++) {
      const nic = await namespace.nic(`tap-${i + 1}`, { queuePairs: PAIRS, queueSize: 16 });
      await nic.submit([new Uint8Array(60)]).completed;
      if (i % 2 === 1) await nic.pairs[i % PAIRS]!.disable();
      await nic.close();
    }
    await until('no worker of the kernel is left', () => resources().workers === 0);
    const after = resources();
    assert.deepEqual(after.descriptors, before.descriptors);
    assert.equal(after.mappings, before.mappings);
  });
});
