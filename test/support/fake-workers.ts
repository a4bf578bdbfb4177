import { VHOST_FORK_OWNER_TASK } from '../../lib/abi/vhost.js';
import type { FakeFiles } from './fake-files.js';
import type { VhostFile } from './fake-vhost-file.js';

/** The thread that every call of a fake kernel comes from. */
const CALLER = 1000;

/** The kernel's workers as /proc shows them: a task of the owner, or a kernel thread. */
export class FakeWorkers {
  private readonly files: FakeFiles;
  private readonly shown = new Map<VhostFile, string>();
  private latest = 2000;

  constructor(files: FakeFiles) {
    this.files = files;
    files.set('/proc/thread-self/stat', `${CALLER} (node) R 1 1`);
    files.set(`/proc/self/task/${CALLER}/comm`, 'node\n');
    files.set(`/proc/${CALLER}/comm`, 'node\n');
  }

  /** A device has an owner. */
  start(file: VhostFile): void {
    const folder = file.forkFromOwner === VHOST_FORK_OWNER_TASK ? '/proc/self/task' : '/proc';
    const path = `${folder}/${++this.latest}/comm`;
    this.shown.set(file, path);
    this.files.set(path, `vhost-${CALLER}\n`);
  }

  /** A device has none any more. */
  stop(file: VhostFile): void {
    const path = this.shown.get(file);
    if (path !== undefined) this.files.set(path, undefined);
    this.shown.delete(file);
  }
}
