/**
 * One queue of a tap that has several, in a Worker: asks for echoes from an address of its own again and again, and counts
 * the answers to it and to others that come on its queue.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Nic } from '../../../../lib/index.js';
import { EchoFlow, echoReply } from '../../../support/icmp-echo.js';
import { testDevice } from '../../../support/test-device.js';

export interface WorkerPairData {
  readonly namespace: string;
  readonly tap: string;
  readonly flow: readonly [
    network: readonly [number, number, number],
    source: number,
    mac: string,
    gateway: string,
  ];
  /** Answers to this Worker's flow, answers to others. */
  readonly counts: SharedArrayBuffer;
}

const data = workerData as WorkerPairData;
const counts = new Int32Array(data.counts);
const nic = await Nic.open({
  ...testDevice,
  tap: { name: data.tap, netns: data.namespace, multiQueue: true },
  queueSize: 64,
});
const flow = new EchoFlow(...data.flow);
const stopping = new AbortController();

async function send(): Promise<void> {
  for (let sequence = 0; !stopping.signal.aborted; sequence++) {
    await nic.submit([flow.request(sequence & 0xffff)]).completed;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function receive(): Promise<void> {
  for await (const batch of nic.receive({ signal: stopping.signal }))
    for (const frame of batch) {
      const reply = echoReply(frame);
      if (reply !== undefined) Atomics.add(counts, reply.source === flow.source ? 0 : 1, 1);
    }
}

parentPort!.postMessage((await nic.pairs[0]!.worker())?.pid);
parentPort!.once('message', async () => {
  const moving = Promise.allSettled([send(), receive()]);
  parentPort!.once('message', async () => {
    stopping.abort();
    await moving;
    await nic.close();
    parentPort!.postMessage('closed');
    parentPort!.close();
  });
});
