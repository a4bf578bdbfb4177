import { type Refusal, refusal } from './fake-refusal.js';
import { requests } from './fake-requests.js';

/** One call of the kernel interface. */
export interface Call {
  /** `surface.method`, or `poller.close` and the like for the methods of a watch. */
  readonly name: string;
  readonly args: readonly unknown[];
  /** Counts the calls that can refuse, from 1; 0 for one that cannot. */
  readonly number: number;
}

/** Which of the calls of one name fail. */
export interface FailureRange {
  /** So many succeed first; 0 unless told. */
  readonly skip?: number;
  /** So many fail then; 1 unless told. */
  readonly remaining?: number;
}

/** A call under way, and how it refuses. */
export class Entry {
  private readonly trace: Trace;
  readonly call: Call;
  private readonly injected: string | undefined;

  constructor(trace: Trace, call: Call, injected: string | undefined) {
    this.trace = trace;
    this.call = call;
    this.injected = injected;
  }

  /** The refusal of this call, to throw; `door` is the path of a network namespace that could not be entered. */
  refuse(code: string, door?: string): Refusal {
    return this.trace.refused(refusal(this.call.name, this.call.args, code, door));
  }

  /** Throws what a test injected into this call. */
  throwInjected(): void {
    if (this.injected !== undefined) throw this.refuse(this.injected);
  }

  violation(text: string): void {
    this.trace.violations.push(`${this.call.name}: ${text}`);
  }

  note(text: string): void {
    this.trace.notes.push(`${this.call.name}: ${text}`);
  }
}

/** Arguments as they were when the call came: what the caller changes later does not show. */
function snapshot(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snapshot);
  if (value instanceof Uint8Array) return value.slice();
  if (typeof value !== 'object' || value === null || value instanceof ArrayBuffer) return value;
  return { ...value };
}

/** The protocol of a fake kernel: what was called, what was refused, what should not have been done. */
export class Trace {
  readonly calls: Call[] = [];
  readonly violations: string[] = [];
  readonly notes: string[] = [];
  readonly refusals: Refusal[] = [];
  private readonly byNumber = new Map<number, string>();
  private readonly byName = new Map<string, { code: string; skip: number; remaining: number }[]>();
  private count = 0;

  /** Calls so far that can refuse. */
  get refusable(): number {
    return this.count;
  }

  failAt(number: number, code: string): void {
    this.byNumber.set(number, code);
  }

  failOn(name: string, code: string, range: FailureRange): void {
    // A misspelt name would inject nothing, and the test would prove nothing.
    if (!(name in requests)) throw new TypeError(`no call of the kernel interface is named ${name}`);
    const list = this.byName.get(name) ?? [];
    this.byName.set(name, list);
    list.push({ code, skip: range.skip ?? 0, remaining: range.remaining ?? 1 });
  }

  /** Records a call; throws what a test injected into it. */
  enter(name: string, args: readonly unknown[]): Entry {
    const entry = this.begin(name, args);
    entry.throwInjected();
    return entry;
  }

  /** Records a call whose work is done even where it refuses, as close(2) does; its end throws. */
  begin(name: string, args: readonly unknown[]): Entry {
    for (const arg of args)
      if (typeof arg === 'number' && !Number.isSafeInteger(arg))
        throw new TypeError(`${name}: ${arg} is not a whole number`);
    const number = ++this.count;
    const call = { name, args: args.map(snapshot), number };
    this.calls.push(call);
    return new Entry(this, call, this.injection(name, number));
  }

  /** Records a call that cannot refuse. */
  tell(name: string, args: readonly unknown[]): void {
    this.calls.push({ name, args: args.map(snapshot), number: 0 });
  }

  refused(error: Refusal): Refusal {
    this.refusals.push(error);
    return error;
  }

  private injection(name: string, number: number): string | undefined {
    const atNumber = this.byNumber.get(number);
    this.byNumber.delete(number);
    for (const rule of this.byName.get(name) ?? []) {
      if (rule.skip > 0) rule.skip--;
      else if (rule.remaining > 0) {
        rule.remaining--;
        return atNumber ?? rule.code;
      }
    }
    return atNumber;
  }
}
