/**
 * Both ends of a cable in a namespace that another process made; frames flow in the friendly tier when the program
 * ends: by process.exit(), or because nothing of it keeps the loop alive any more.
 */
import { Cable } from '../../../support/device-cable.js';
import { Namespace } from '../../../support/device-namespace.js';
import { NumberedFrames } from '../../../support/numbered-frames.js';

const [name, way] = process.argv.slice(2) as [string, 'exit' | 'unref'];
const ENOUGH = 1000;

const { a, b } = await Cable.lay({ queueSize: 64 }, undefined, Namespace.enter(name));
const frames = new NumberedFrames(60, 'a', 'b');
const batch = Array.from({ length: 256 }, (_, i) => frames.frame(i));

async function send(): Promise<void> {
  for (;;) await a.submit(batch).accepted;
}

async function receive(): Promise<void> {
  let received = 0;
  for await (const each of b.receive()) {
    received += each.length;
    const { inFlight } = a.stats().transmit;
    if (received < ENOUGH || inFlight === 0) continue;
    process.stdout.write(`${inFlight} in flight\n`);
    if (way === 'exit') process.exit(0);
    a.unref();
    b.unref();
    return;
  }
}

void send();
void receive();
