import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HandOver, Nic } from '../../../lib/index.js';
import { CountedSender, MARK } from '../../support/counted-frames.js';
import { Namespace, STALLED } from '../../support/device-namespace.js';
import { readDiary } from '../../support/diary.js';
import { giveHandOver } from '../../support/give-hand-over.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { resources } from '../../support/process-resources.js';
import { overWorker, testDevice } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';
import {
  openPairs,
  type PairsPartyCommand,
  type PairsPartyOptions,
  type PairsPartyReport,
  STREAMS,
} from './programs/pairs-party.js';

const program = new URL('./programs/pairs-party.js', import.meta.url);
const tap = 'tap-a';
/** So little that frames always wait in the rings for their turn on the wire. */
const SEND_BUFFER = 16_384;
/** Fills the rings, however slow this machine is. */
const USUAL = '1mbit';
const BACK = new NumberedFrames(200, 'b', 'a');

/** Takes the frames of all streams from a `Nic`: of each stream the next. */
class StreamsReceiver {
  readonly next = STREAMS.map(() => 0);
  readonly marks = STREAMS.map(() => 0);
  /** Settles when the `Nic` is closed; rejects where a frame is lost. */
  readonly ended: Promise<void>;

  /** `again`: frames that came before may come again. */
  constructor(nic: Nic, { again }: { readonly again: boolean }, came: () => void) {
    this.ended = (async () => {
      for await (const batch of nic.receive()) {
        for (const frame of batch) {
          const stream = STREAMS.findIndex((each) =>
            each.matches(each.number(frame), frame, 0, frame.length),
          );
          assert.notEqual(stream, -1, 'a frame of one of the streams, every byte of it');
          const number = STREAMS[stream]!.number(frame);
          if (number === MARK) this.marks[stream]!++;
          else if (!again || number >= this.next[stream]!)
            assert.equal(number, this.next[stream]!++, `no frame of stream ${stream} is lost`);
        }
        came();
      }
    })();
  }
}

function inFlight({ next, completed }: PairsPartyReport): number {
  return next.reduce((sum, each, i) => sum + each - completed[i]!, 0);
}

for (const iommu of overWorker ? [false] : [false, true])
  describe(`a Nic of several pairs that is handed over${iommu ? ', whose addresses are translated' : ''}`, function () {
    this.timeout(300_000);
    let namespace: Namespace;
    let folder: string;
    let far: Nic;
    const children: ChildProcess[] = [];
    const heirs: Nic[] = [];

    beforeEach(async () => {
      namespace = Namespace.add();
      folder = mkdtempSync(join(tmpdir(), 'hand-over-'));
      far = await namespace.nic('tap-b', { queueSize: 256 });
    });
    afterEach(async () => {
      for (const child of children.splice(0)) child.kill('SIGKILL');
      for (const nic of heirs.splice(0)) await nic.close();
      await namespace.remove();
      rmSync(folder, { recursive: true });
    });

    /** Lets the near tap's frames out at a pace that keeps its rings filled, however slow this machine is. */
    async function connect(): Promise<void> {
      namespace.bridge('cable', tap, 'tap-b');
      namespace.pace('tap-b', USUAL);
      await until('both taps are connected', () => namespace.forwards('cable'));
    }

    async function resume(handOver: HandOver): Promise<Nic> {
      const nic = await Nic.resume(handOver, { ...testDevice, iommu });
      heirs.push(nic);
      return nic;
    }

    /** Waits until each stream has brought so many frames more. */
    function cross(receiver: StreamsReceiver, count: number): Promise<void> {
      const from = [...receiver.next];
      return until('frames of each pair cross', () =>
        receiver.next.every((next, i) => next >= from[i]! + count),
      );
    }

    it('goes on in the same process with every frame of each pair, each once', async () => {
      let near = await openPairs(namespace, { tap, sendBuffer: SEND_BUFFER, iommu });
      await connect();
      const before = resources();
      const sendFrom = (next: readonly number[]): CountedSender[] =>
        near.pairs.map((pair, i) => new CountedSender(pair, STREAMS[i]!, { next: next[i] }));
      let senders = sendFrom(STREAMS.map(() => 0));
      const receiver = new StreamsReceiver(far, { again: false }, () => {
        for (const [i, sender] of senders.entries()) sender.acknowledged = receiver.next[i]!;
      });
      const back = new CountedSender(far, BACK);
      const came = new Set<number>();
      const take = async (nic: Nic): Promise<void> => {
        for await (const batch of nic.receive()) {
          for (const frame of batch) {
            const number = BACK.number(frame);
            BACK.check(number, frame);
            assert.ok(!came.has(number), `frame ${number} comes once`);
            came.add(number);
          }
          // The kernel moves the flow from queue to queue, so that they may overtake each other.
          back.acknowledged = came.size;
        }
      };
      back.acknowledged = 0;
      let replayed = 0;
      // Again until all pairs met frames in flight, which a machine under load may have sent already.
      for (let i = 0; i < 2 || (replayed === 0 && i < 30); i++) {
        const taking = take(near);
        for (const [each, sender] of senders.entries()) sender.acknowledged = receiver.next[each]!;
        const { size } = came;
        await cross(receiver, 30);
        await until('frames come back', () => came.size >= size + 40);
        await Promise.all(senders.map((sender) => sender.stop()));
        const next = senders.map((sender) => sender.next);
        const handOver = await near.handOver();
        await within('the iteration ends', taking);
        near = await resume(handOver);
        replayed += near.resumed!.replayed;
        senders = sendFrom(next);
      }
      assert.ok(replayed > 0, 'frames were in flight');
      await Promise.all([...senders, back].map((sender) => sender.stop()));
      const taking = take(near);
      await until(
        'all frames have come',
        () => senders.every(({ next }, i) => receiver.next[i] === next) && came.size === back.next,
      );
      const after = resources();
      assert.equal(after.descriptors.length, before.descriptors.length);
      assert.equal(after.mappings, before.mappings);
      await near.close();
      await within('the iteration ends', taking);
      await far.close();
      await receiver.ended;
    });

    // Nothing that is handed over without an IOTLB is missing with one.
    if (iommu || overWorker)
      it('goes on after its process was killed, and in another, with no frame of any pair lost', async () => {
        let told: PairsPartyReport | undefined;
        let child: ChildProcess;
        const diary = join(folder, 'diary');
        const party = (options: Omit<PairsPartyOptions, 'iommu' | 'diary'>): void => {
          told = undefined;
          child = fork(program, [JSON.stringify({ ...options, iommu, diary } satisfies PairsPartyOptions)]);
          children.push(child);
          child.on('message', (report: PairsPartyReport) => {
            told = report;
          });
        };
        // A process that was just killed does not hear it.
        const tell = (command: PairsPartyCommand): void =>
          void (child.connected && child.send(command, () => {}));
        const receiver = new StreamsReceiver(far, { again: true }, () =>
          tell({ acknowledged: receiver.next }),
        );

        party({ open: { namespace: namespace.name, tap, sendBuffer: SEND_BUFFER }, next: receiver.next });
        await until('the process has it', () => told !== undefined);
        await connect();
        const standby = HandOver.take(join(folder, 'standby'));
        tell({ standby: join(folder, 'standby') });
        const left = await within('the standby is given', standby);
        tell({ acknowledged: receiver.next });
        await cross(receiver, 60);
        namespace.pace('tap-b', STALLED);
        await until('frames are in flight', () => inFlight(told!) >= 64);
        const killed = once(child!, 'exit');
        child!.kill('SIGKILL');
        assert.deepEqual(await within('the process that was killed ends', killed), [null, 'SIGKILL']);
        const posted = readDiary(diary, STREAMS.length);
        namespace.pace('tap-b', USUAL);

        const heir = await resume(left);
        assert.ok(heir.resumed!.replayed > 0, 'frames were in flight');
        for (const [i, pair] of heir.pairs.entries()) await pair.send(STREAMS[i]!.frame(MARK));
        await until('what was sent before has come', () => receiver.marks.every((marks) => marks === 1));
        // The process may have posted one more of each pair than it came to note.
        for (const [i, next] of receiver.next.entries())
          assert.ok(
            next === posted[i]! || next === posted[i]! + 1,
            `of pair ${i} ${posted[i]} were posted, ${next} came`,
          );

        const handOver = await heir.handOver();
        const there = join(folder, 'there');
        party({ take: there, next: receiver.next });
        await giveHandOver(handOver, there);
        await until('the next process has it', () => told !== undefined);
        tell({ acknowledged: receiver.next });
        await cross(receiver, 60);
        const here = HandOver.take(join(folder, 'here'));
        const ended = once(child!, 'exit');
        tell({ give: join(folder, 'here') });
        assert.deepEqual(await within('the process that gave ends', ended), [0, null]);
        const { next } = told!;
        const last = await resume(await here);
        await until('all frames have come', () => receiver.next.every((each, i) => each === next[i]));
        await last.close();
        await far.close();
        await receiver.ended;
      });

    if (iommu)
      it('is refused without what answers its devices, and can still be resumed with it', async () => {
        const near = await openPairs(namespace, { tap, sendBuffer: SEND_BUFFER, iommu });
        const handOver = await near.handOver();
        await assert.rejects(Nic.resume(handOver, testDevice), {
          code: 'ERR_VHOST_UNSUPPORTED',
          message: /^the device must agree on features 0x/,
        });
        const heir = await resume(handOver);
        await connect();
        for (const [i, pair] of heir.pairs.entries())
          assert.equal((await pair.submit([STREAMS[i]!.frame(0)]).completed).completed, 1);
      });
  });
