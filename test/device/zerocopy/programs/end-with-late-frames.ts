/**
 * A `Nic` on a link that holds frames back, and frames in flight on it when its environment ends: as a process, by
 * process.exit(); as a Worker, by being terminated. The first line or message is sent when the frames are in flight.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { Nic } from '../../../../lib/index.js';
import { NumberedFrames } from '../../../support/numbered-frames.js';

const [netns, name] = (isMainThread ? process.argv.slice(2) : workerData) as [string, string];
const nic = await Nic.open({ macvtap: { name, netns } });
const frames = new NumberedFrames(1000, 'a', 'b');
await nic.submit(Array.from({ length: 32 }, (_, i) => frames.frame(i))).accepted;
if (isMainThread) process.exit(nic.stats().transmit.submitted === 32 ? 0 : 1);
parentPort!.postMessage(nic.stats().transmit.submitted);
