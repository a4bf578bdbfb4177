/**
 * A process that has a Nic of several pairs for a while: opens it or takes it from another process, sends counted frames on
 * each pair, and gives it on, or is killed.
 */
import { HandOver, Nic } from '../../../../lib/index.js';
import { CountedSender } from '../../../support/counted-frames.js';
import { Namespace } from '../../../support/device-namespace.js';
import { Diary } from '../../../support/diary.js';
import { type End, NumberedFrames } from '../../../support/numbered-frames.js';
import { testDevice } from '../../../support/test-device.js';

export interface PairsPartyOptions {
  /** Opens the tap in this namespace … */
  readonly open?: { readonly namespace: string; readonly tap: string; readonly sendBuffer: number };
  /** … or takes a Nic over at this path. */
  readonly take?: string;
  readonly iommu: boolean;
  /** Where it notes by pair the number of the next frame to post. */
  readonly diary: string;
  /** By pair: the number of the next frame. */
  readonly next: readonly number[];
}

/** What the parent tells. */
export type PairsPartyCommand =
  /** By pair: the number of the frame that the far end waits for. */
  { readonly acknowledged: readonly number[] } | { readonly give: string } | { readonly standby: string };

/** What the party tells, by pair: the number of the next frame, and that up to which all had completed. */
export interface PairsPartyReport {
  readonly next: readonly number[];
  readonly completed: readonly number[];
}

/** Who sends on which pair. */
const SENDERS = ['a', 'c', 'd'] as const satisfies readonly End[];

/** By pair: frames that tell it by their source. */
export const STREAMS = SENDERS.map((end) => new NumberedFrames(200, end, 'b'));

/** A `Nic` with a pair for each stream, which can be handed over. */
export function openPairs(
  namespace: Namespace,
  { tap, sendBuffer, iommu }: { tap: string; sendBuffer: number; iommu: boolean },
): Promise<Nic> {
  return namespace.nic(tap, {
    resumable: true,
    queuePairs: STREAMS.length,
    queueSize: 64,
    iommu,
    tap: { sendBuffer },
  });
}

async function main({ open, take, iommu, diary: path, next }: PairsPartyOptions): Promise<void> {
  const diary = new Diary(path);
  for (const [i, each] of next.entries()) diary.note(i, each);
  const nic = open
    ? await openPairs(Namespace.enter(open.namespace), { ...open, iommu })
    : await Nic.resume(await HandOver.take(take!), { ...testDevice, iommu });
  const senders = nic.pairs.map(
    (pair, i) =>
      new CountedSender(pair, STREAMS[i]!, { next: next[i], posted: (posted) => diary.note(i, posted) }),
  );
  const report = (): void => {
    const told: PairsPartyReport = {
      next: senders.map((sender) => sender.next),
      completed: senders.map((sender) => sender.completed),
    };
    process.send!(told);
  };
  const reporting = setInterval(report, 5);
  process.on('message', async (command: PairsPartyCommand) => {
    if ('acknowledged' in command)
      for (const [i, sender] of senders.entries()) sender.acknowledged = command.acknowledged[i]!;
    else if ('standby' in command) await nic.standby().give(command.standby);
    else {
      await Promise.all(senders.map((sender) => sender.stop()));
      clearInterval(reporting);
      await (await nic.handOver()).give(command.give);
      report();
      process.disconnect();
    }
  });
}

if (process.send !== undefined && process.argv[2] !== undefined)
  await main(JSON.parse(process.argv[2]) as PairsPartyOptions);
