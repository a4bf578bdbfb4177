/**
 * A `Nic` on a link that holds frames back, whose environment ends once the device has taken frames: as a process by
 * process.exit(), by an exception that nobody catches, or as it is killed; as a Worker by being terminated. The line or the
 * message is sent when the frames are taken.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { KernelVhost, Nic } from '../../../../lib/index.js';
import { submitTaken } from '../../../support/late-link.js';
import { NumberedFrames } from '../../../support/numbered-frames.js';

const [netns, name, way] = (isMainThread ? process.argv.slice(2) : workerData) as [string, string, string];
const vhost = KernelVhost.open();
const nic = await Nic.open({ macvtap: { name, netns }, vhost });
const frames = new NumberedFrames(1000, 'a', 'b');
await submitTaken(
  { nic, vhost },
  Array.from({ length: 32 }, (_, i) => frames.frame(i)),
);
const { inFlight } = nic.stats().transmit;
if (!isMainThread) parentPort!.postMessage(inFlight);
else
  process.stdout.write(`${inFlight}\n`, () => {
    if (way === 'exit') process.exit(7);
    if (way === 'throw') throw new Error('nobody catches it');
    if (way === 'kill') process.kill(process.pid, 'SIGKILL');
  });
