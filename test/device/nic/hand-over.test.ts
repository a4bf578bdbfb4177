import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HandOver, type InFlight, Nic, type ResumeOptions } from '../../../lib/index.js';
import { CountedReceiver, CountedSender, MARK } from '../../support/counted-frames.js';
import { Namespace, STALLED } from '../../support/device-namespace.js';
import { readDiary } from '../../support/diary.js';
import { giveHandOver } from '../../support/give-hand-over.js';
import { resources } from '../../support/process-resources.js';
import { testDevice } from '../../support/test-device.js';
import { until, within } from '../../support/until.js';
import {
  type HandOverPartyOptions,
  IN,
  OUT,
  type PartyCommand,
  type PartyReport,
  POSTED,
  QUEUE_SIZE,
  TAKEN,
} from './programs/hand-over-party.js';

const program = new URL('./programs/hand-over-party.js', import.meta.url);
/** So little that frames always wait in the ring for their turn on the wire. */
const SEND_BUFFER = 16_384;
/** Fills the ring. */
const USUAL = '128kbit';

/** Another process that has the near Nic. */
class Party {
  readonly child: ChildProcess;
  /** What it told last. */
  report: PartyReport | undefined;
  readonly #diary: string;

  constructor(options: HandOverPartyOptions) {
    this.#diary = options.diary;
    this.child = fork(program, [JSON.stringify(options)]);
    this.child.on('message', (report: PartyReport) => {
      this.report = report;
    });
  }

  tell(command: PartyCommand): void {
    // A process that was just killed does not hear it, which is what the tests are about.
    if (this.child.connected) this.child.send(command, () => {});
  }

  /** Gives what it has to whoever listens there, and ends; what it told at last. */
  async give(path: string): Promise<PartyReport> {
    const ended = once(this.child, 'exit');
    this.tell({ give: path });
    assert.deepEqual(await within('the process that gave ends', ended), [0, null]);
    assert.equal(this.report!.left, true);
    return this.report!;
  }

  /** Ends without a word; what it told at last, and what it had done by then. */
  async kill(): Promise<{ readonly completed: number; readonly posted: number; readonly taken: number }> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    assert.deepEqual(await within('the process that was killed ends', ended), [null, 'SIGKILL']);
    const places = readDiary(this.#diary, 2);
    return { completed: this.report!.completed, posted: places[POSTED]!, taken: places[TAKEN]! };
  }
}

describe('a Nic that is handed over while frames cross it', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  let folder: string;
  let far: Nic;
  const parties: Party[] = [];
  const heirs: Nic[] = [];

  /** Lets the near tap's frames out at a pace that keeps its ring filled. */
  async function connect(): Promise<void> {
    namespace.bridge('cable', 'tap-a', 'tap-b');
    namespace.pace('tap-b', USUAL);
    await until('both taps are connected', () => namespace.forwards('cable'));
  }

  function party(options: Omit<HandOverPartyOptions, 'diary'>): Party {
    const added = new Party({ ...options, diary: join(folder, `diary-${parties.length}`) });
    parties.push(added);
    return added;
  }

  async function resume(handOver: HandOver, options?: ResumeOptions): Promise<Nic> {
    const nic = await Nic.resume(handOver, { ...testDevice, ...options });
    heirs.push(nic);
    return nic;
  }

  beforeEach(async () => {
    namespace = Namespace.add();
    folder = mkdtempSync(join(tmpdir(), 'hand-over-'));
    far = await namespace.nic('tap-b', { queueSize: 256 });
  });
  afterEach(async () => {
    for (const { child } of parties.splice(0)) child.kill('SIGKILL');
    for (const nic of heirs.splice(0)) await nic.close();
    await namespace.remove();
    rmSync(folder, { recursive: true });
  });

  it('goes on in the same process with every frame of both directions, each once', async () => {
    let near = await namespace.nic('tap-a', {
      resumable: true,
      queueSize: 64,
      tap: { sendBuffer: SEND_BUFFER },
    });
    await connect();
    const before = resources();
    const back = new CountedSender(far, IN);
    let sender = new CountedSender(near, OUT);
    back.acknowledged = sender.acknowledged = 0;
    const receiver = new CountedReceiver(far, OUT, { came: (next) => (sender.acknowledged = next) });
    let replayed = 0;
    let nearNext = 0;
    // Again until one met frames in flight, which a machine under load may have sent already.
    for (let i = 0; i < 4 || (replayed === 0 && i < 30); i++) {
      const nearReceiver = new CountedReceiver(near, IN, {
        next: nearNext,
        came: (next) => (back.acknowledged = next),
      });
      const { next } = receiver;
      await until('frames cross', () => receiver.next >= next + 60 && nearReceiver.next >= nearNext + 60);
      await sender.stop();
      const handOver = await near.handOver();
      await nearReceiver.ended;
      nearNext = nearReceiver.next;
      near = await resume(handOver);
      replayed += near.resumed!.replayed;
      sender = new CountedSender(near, OUT, { next: sender.next });
      sender.acknowledged = receiver.next;
    }
    assert.ok(replayed > 0, 'frames were in flight');
    await Promise.all([sender.stop(), back.stop()]);
    const nearReceiver = new CountedReceiver(near, IN, { next: nearNext });
    await until(
      'all frames have come',
      () => receiver.next === sender.next && nearReceiver.next === back.next,
    );
    const after = resources();
    assert.equal(after.descriptors.length, before.descriptors.length);
    assert.equal(after.mappings, before.mappings);
    await far.close();
    await receiver.ended;
  });

  it('goes on in another process, and in the next, with every frame of both directions, each once', async () => {
    let at = party({
      open: { namespace: namespace.name, tap: 'tap-a', sendBuffer: SEND_BUFFER },
      nextOut: 0,
      nextIn: 0,
    });
    await until('the first process has it', () => at.report !== undefined);
    await connect();
    const back = new CountedSender(far, IN);
    const receiver = new CountedReceiver(far, OUT, { came: (next) => at.tell({ acknowledged: next }) });
    at.tell({ acknowledged: 0 });
    const acknowledging = setInterval(() => {
      back.acknowledged = at.report?.nextIn ?? back.acknowledged;
    }, 1);
    try {
      let replayed = 0;
      // Again until one met frames in flight, which a machine under load may have sent already.
      for (let i = 0; i < 1 || (replayed === 0 && i < 30); i++) {
        const { next } = receiver;
        const nearNext = at.report?.nextIn ?? 0;
        await until(
          'frames cross',
          () => receiver.next >= next + 60 && (at.report?.nextIn ?? 0) >= nearNext + 60,
        );
        const [here, there] = [join(folder, `here-${i}`), join(folder, `there-${i}`)];
        const taking = HandOver.take(here);
        const left = await at.give(here);
        // On its way it passes through this process, which only holds it.
        const taken = await taking;
        const { nextOut, nextIn } = left;
        at = party({ take: there, nextOut, nextIn });
        await giveHandOver(taken, there);
        await until('the next process has it', () => at.report !== undefined);
        at.tell({ acknowledged: receiver.next });
        replayed += at.report!.replayed;
      }
      assert.ok(replayed > 0, 'frames were in flight');
      const here = join(folder, 'here');
      const taking = HandOver.take(here);
      const { nextOut, nextIn } = await at.give(here);
      const near = await resume(await taking);
      await back.stop();
      const nearReceiver = new CountedReceiver(near, IN, { next: nextIn });
      await until('all frames have come', () => receiver.next === nextOut && nearReceiver.next === back.next);
    } finally {
      clearInterval(acknowledging);
    }
    await far.close();
    await receiver.ended;
  });

  /**
   * Processes that are killed one after the other while frames cross both ways. What was posted has come, or comes again
   * or is told of; what had come and was not taken yet is there for whoever goes on.
   */
  async function surviveKills(inFlight: InFlight, kills: number): Promise<void> {
    let at: Party | undefined;
    const receiver = new CountedReceiver(far, OUT, {
      again: inFlight === 'replay',
      came: (next) => at?.tell({ acknowledged: next }),
    });
    const back = new CountedSender(far, IN);
    let acknowledging: NodeJS.Timeout | undefined;
    let standby: HandOver | undefined;
    let nextIn = 0;
    let left = 0;
    try {
      for (let i = 0; i < kills; i++) {
        const path = join(folder, `party-${i}`);
        const open = { namespace: namespace.name, tap: 'tap-a', sendBuffer: SEND_BUFFER };
        const numbers = { nextOut: receiver.next, nextIn };
        at = party(standby === undefined ? { open, ...numbers } : { take: path, ...numbers });
        if (standby === undefined) {
          await until('the process has it', () => at!.report !== undefined);
          await connect();
          acknowledging = setInterval(() => {
            back.acknowledged = Math.max(back.acknowledged, at?.report?.nextIn ?? 0);
          }, 1);
        } else await giveHandOver(standby, path);
        const here = join(folder, `standby-${i}`);
        const taking = HandOver.take(here);
        await until('the process has it', () => at!.report !== undefined);
        at.tell({ standby: here });
        standby = await within('the standby is given', taking);
        const { next } = receiver;
        at.tell({ acknowledged: next });
        await until(
          'frames cross both ways',
          () => receiver.next >= next + 60 && at!.report!.nextIn >= nextIn + 60,
        );
        namespace.pace('tap-b', STALLED);
        await until(
          'frames are in flight',
          () => at!.report!.nextOut - at!.report!.completed >= QUEUE_SIZE / 2,
        );
        const { completed, posted, taken } = await at.kill();
        namespace.pace('tap-b', USUAL);
        const sentBefore = back.next;
        // Its last word may be older than what it had taken, and the far end wait for it with all that it may send.
        back.acknowledged = Math.max(back.acknowledged, taken);

        const heir = await resume(standby, { inFlight });
        const nearReceiver = new CountedReceiver(heir, IN, {
          next: 'any',
          came: (came) => (back.acknowledged = came),
        });
        const { replayed, reported, lostBuffers } = heir.resumed!;
        left += replayed + reported.length;
        assert.ok(
          replayed + reported.length <= posted + 1 - completed,
          `${posted} posted, ${completed} completed; ${replayed} go again, ${reported.length} are told of`,
        );
        const marks = receiver.marks;
        await heir.send(OUT.frame(MARK));
        await until('what was sent before has come', () => receiver.marks > marks);
        assert.ok(receiver.next >= completed, `${completed} completed, ${receiver.next} came`);
        const numbersReported = reported.map(({ frame }) => OUT.number(frame));
        for (const [j, { frame }] of reported.entries()) {
          OUT.check(numbersReported[0]! + j, frame);
          // Beyond what came there is nothing that was not reported, and nothing between.
          if (j === 0) assert.ok(numbersReported[0]! <= receiver.next, 'no frame is lost in silence');
        }
        receiver.next = Math.max(receiver.next, ...numbersReported.map((number) => number + 1));
        // The process may have posted one frame more than it came to note.
        assert.ok(
          receiver.next === posted || receiver.next === posted + 1,
          `${posted} were posted, ${receiver.next} have come or were told of`,
        );

        await until('what was on its way to it has come', () => nearReceiver.next >= sentBefore);
        // What it was taking, and had not come to note, ends with it: no more than a ring holds.
        const gone = nearReceiver.first! - taken;
        assert.ok(
          gone >= 0 && gone <= QUEUE_SIZE + lostBuffers,
          `${taken} were taken, ${nearReceiver.first} comes first; ${lostBuffers} buffers are lost`,
        );
        standby = await heir.handOver();
        await nearReceiver.ended;
        nextIn = nearReceiver.next;
      }
      await back.stop();
    } finally {
      clearInterval(acknowledging);
    }
    assert.ok(left > 0, 'frames were in flight');
    standby!.close();
    await far.close();
    await receiver.ended;
  }

  it('goes on after its process was killed, and sends again what was in flight', () =>
    surviveKills('replay', 2));

  it('goes on after its process was killed, and reports what was in flight', () => surviveKills('report', 1));
});
