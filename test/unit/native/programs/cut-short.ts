// Maps files that are then cut short under it: `node cut-short.js here|worker|unrelated`; tells what it read.
import { ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { deletedMappings } from '../process-state.js';

const PAGES = 3;

function mapCutAndTouch(): object {
  const { memory } = hostKernel();
  const page = memory.pageSize();
  const folder = mkdtempSync(join(tmpdir(), 'cut-short-'));
  const [cut, whole] = ['cut', 'whole'].map((name) => {
    const fd = openSync(join(folder, name), 'w+');
    ftruncateSync(fd, PAGES * page);
    const mapping = memory.map(fd, 0, PAGES * page);
    const bytes = new Uint8Array(mapping.buffer);
    bytes.fill(7);
    return { fd, mapping, bytes };
  }) as [Opened, Opened];
  rmSync(folder, { recursive: true });
  const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => total + byte, 0);
  ftruncateSync(cut.fd, page);
  const found = { kept: cut.bytes[0], gone: cut.bytes[page], sum: sum(cut.bytes) };
  cut.bytes.fill(1);
  const written = sum(cut.bytes) / page;
  const untouched = sum(whole.bytes) / page;
  memory.unmap(cut.mapping);
  const left = deletedMappings(join(folder, 'cut'));
  // The guard of one outlives that of the other.
  ftruncateSync(whole.fd, 0);
  const second = sum(whole.bytes);
  memory.unmap(whole.mapping);
  return { ...found, written, untouched, left, second };
}

interface Opened {
  readonly fd: number;
  readonly mapping: ReturnType<ReturnType<typeof hostKernel>['memory']['map']>;
  readonly bytes: Uint8Array;
}

const [how] = process.argv.slice(2);
if (!isMainThread) parentPort!.postMessage(mapCutAndTouch());
else if (how === 'here') process.stdout.write(`${JSON.stringify(mapCutAndTouch())}\n`);
else if (how === 'worker')
  new Worker(new URL(import.meta.url)).once('message', (found) =>
    process.stdout.write(`${JSON.stringify(found)}\n`),
  );
else {
  const { memory } = hostKernel();
  const made = memory.create('guarded', memory.pageSize(), 0);
  memory.map(made.fd, 0, memory.pageSize());
  process.kill(process.pid, 'SIGBUS');
  setInterval(() => {}, 1000);
}
