/**
 * A process that has a Nic for a while: opens it or takes it from another process, sends counted frames and checks those
 * that come, and gives it on, or is killed.
 */
import { HandOver, Nic } from '../../../../lib/index.js';
import { CountedReceiver, CountedSender } from '../../../support/counted-frames.js';
import { Namespace } from '../../../support/device-namespace.js';
import { Diary } from '../../../support/diary.js';
import { NumberedFrames } from '../../../support/numbered-frames.js';
import { testDevice } from '../../../support/test-device.js';

export interface HandOverPartyOptions {
  /** Opens the tap in this namespace … */
  readonly open?: { readonly namespace: string; readonly tap: string; readonly sendBuffer: number };
  /** … or takes a Nic over at this path. */
  readonly take?: string;
  /** Where it notes what it did: at POSTED the number of the next frame to post, at TAKEN that of the next to take. */
  readonly diary: string;
  readonly nextOut: number;
  readonly nextIn: number;
}

/** What the parent tells. */
export type PartyCommand =
  | { readonly acknowledged: number }
  | { readonly give: string }
  | { readonly standby: string };

/** What the party tells. */
export interface PartyReport {
  readonly pid: number;
  readonly nextOut: number;
  readonly completed: number;
  readonly nextIn: number;
  readonly replayed: number;
  readonly left?: true;
}

export const OUT = new NumberedFrames(200, 'a', 'b');
export const IN = new NumberedFrames(200, 'b', 'a');

/** Places in the diary. */
export const POSTED = 0;
export const TAKEN = 1;
/** Descriptors of each ring. */
export const QUEUE_SIZE = 64;

async function main({ open, take, diary: path, nextOut, nextIn }: HandOverPartyOptions): Promise<void> {
  const diary = new Diary(path);
  diary.note(POSTED, nextOut);
  diary.note(TAKEN, nextIn);
  const nic = open
    ? await Namespace.enter(open.namespace).nic(open.tap, {
        resumable: true,
        queueSize: QUEUE_SIZE,
        tap: { sendBuffer: open.sendBuffer },
      })
    : await Nic.resume(await HandOver.take(take!), testDevice);
  const sender = new CountedSender(nic, OUT, { next: nextOut, posted: (next) => diary.note(POSTED, next) });
  const receiver = new CountedReceiver(nic, IN, { next: nextIn, came: (next) => diary.note(TAKEN, next) });
  const report = (left?: true): void => {
    const { next, completed } = sender;
    const replayed = nic.resumed?.replayed ?? 0;
    const told = { pid: process.pid, nextOut: next, completed, nextIn: receiver.next, replayed };
    process.send!({ ...told, ...(left && { left }) } satisfies PartyReport);
  };
  const reporting = setInterval(report, 5);
  process.on('message', async (command: PartyCommand) => {
    if ('acknowledged' in command) sender.acknowledged = command.acknowledged;
    else if ('standby' in command) await nic.standby().give(command.standby);
    else {
      await sender.stop();
      clearInterval(reporting);
      const handOver = await nic.handOver();
      await receiver.ended;
      await handOver.give(command.give);
      report(true);
      process.disconnect();
    }
  });
}

if (process.send !== undefined && process.argv[2] !== undefined)
  await main(JSON.parse(process.argv[2]) as HandOverPartyOptions);
