import type { Poller, PollerSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { EventFile } from './fake-eventfd.js';
import type { OpenFile } from './fake-file.js';
import type { Schedule } from './fake-schedule.js';
import type { Trace } from './fake-trace.js';

/** A watch that is open, as tests see it. */
export interface OpenPoller {
  readonly fd: number;
  /** Whether the loop would live for it. */
  readonly referenced: boolean;
}

/** The watches of a fake kernel. They fire on a later turn of the loop, as uv_poll does. */
export class FakePollers implements PollerSurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly schedule: Schedule;
  private readonly watches = new Set<Watch>();

  constructor(trace: Trace, descriptors: FakeDescriptors, schedule: Schedule) {
    this.trace = trace;
    this.descriptors = descriptors;
    this.schedule = schedule;
  }

  list(): OpenPoller[] {
    return [...this.watches].map(({ fd, referenced }) => ({ fd, referenced }));
  }

  watchEventfd(fd: number, callback: (count: number) => void): Poller {
    const entry = this.trace.enter('poller.watchEventfd', [fd, callback]);
    const file = this.descriptors.file(entry, fd, EventFile, 'EINVAL');
    this.descriptors.watch(entry, fd);
    return this.start(fd, file, 'readable', () => {
      const count = file.take();
      if (count > 0) callback(count);
    });
  }

  watchReadable(fd: number, callback: (error: boolean) => void): Poller {
    return this.watchFile('readable', 'poller.watchReadable', fd, callback);
  }

  watchWritable(fd: number, callback: (error: boolean) => void): Poller {
    return this.watchFile('writable', 'poller.watchWritable', fd, callback);
  }

  private watchFile(
    direction: Direction,
    name: string,
    fd: number,
    callback: (error: boolean) => void,
  ): Poller {
    const entry = this.trace.enter(name, [fd, callback]);
    const file = this.descriptors.watch(entry, fd);
    return this.start(fd, file, direction, () => {
      if (file[direction] || file.broken) callback(file.broken);
    });
  }

  private start(fd: number, file: OpenFile, direction: Direction, fire: () => void): Watch {
    const watch: Watch = new Watch(fd, file, direction, this.trace, this.schedule, fire, () => {
      this.watches.delete(watch);
      this.descriptors.unwatch(fd);
    });
    this.watches.add(watch);
    return watch;
  }
}

type Direction = 'readable' | 'writable';

class Watch implements Poller {
  readonly fd: number;
  referenced = true;
  private readonly file: OpenFile;
  private readonly direction: Direction;
  private readonly trace: Trace;
  private readonly schedule: Schedule;
  private readonly fire: () => void;
  private readonly ended: () => void;
  private scheduled = false;
  private open = true;

  constructor(
    fd: number,
    file: OpenFile,
    direction: Direction,
    trace: Trace,
    schedule: Schedule,
    fire: () => void,
    ended: () => void,
  ) {
    this.fd = fd;
    this.file = file;
    this.direction = direction;
    this.trace = trace;
    this.schedule = schedule;
    this.fire = fire;
    this.ended = ended;
    file.wakes.add(this.wake);
    this.wake();
  }

  close(): void {
    this.trace.tell('poller.close', [this.fd]);
    if (!this.open) return;
    this.open = false;
    this.file.wakes.delete(this.wake);
    this.ended();
  }

  ref(): void {
    this.trace.tell('poller.ref', [this.fd]);
    this.referenced = true;
  }

  unref(): void {
    this.trace.tell('poller.unref', [this.fd]);
    this.referenced = false;
  }

  private readonly wake = (): void => {
    if (this.scheduled || !this.open || !(this.file[this.direction] || this.file.broken)) return;
    this.scheduled = true;
    this.schedule.later(() => {
      this.scheduled = false;
      if (!this.open) return;
      try {
        this.fire();
      } finally {
        // Level-triggered: what the callback left unread wakes the watch again.
        this.wake();
      }
    });
  };
}
