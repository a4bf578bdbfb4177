import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The path of a new fifo, and how to be rid of it. */
export function makeFifo(): { path: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'vhost-net-'));
  const path = join(folder, 'fifo');
  execFileSync('mkfifo', [path]);
  return { path, remove: () => rmSync(folder, { recursive: true }) };
}

/** Both ends of a fifo that has no name any more; neither blocks. */
export function openFifo(): { reader: number; writer: number } {
  const { path, remove } = makeFifo();
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  remove();
  return { reader, writer };
}
