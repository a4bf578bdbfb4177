import { execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './temporary-folder.js';

const NUL = '\0';

let standing: StandingShell | undefined;

/**
 * Runs a program to its end as `execFileSync` does; what it printed. A shell that stands by starts it: to copy a process of
 * Node's size takes an emulated machine a quarter of a second each time.
 */
export function run(program: string, args: readonly string[], input = ''): string {
  standing ??= new StandingShell();
  return standing.run([program, ...args], input);
}

/** A shell that runs one command after the other, and ends with this process. */
class StandingShell {
  readonly #commands: number;
  readonly #output: number;
  readonly #errors: number;

  constructor() {
    const folder = temporaryFolder();
    const theirs: number[] = [];
    /** Opens a pipe; the end of this side. */
    const pipe = (mode: 'r' | 'w'): number => {
      const path = join(folder.path, `${theirs.length}`);
      execFileSync('mkfifo', [path]);
      // While it is open both ways, neither end waits for the other.
      const both = openSync(path, 'r+');
      theirs.push(openSync(path, mode === 'w' ? 'r' : 'w'));
      const ours = openSync(path, mode);
      closeSync(both);
      return ours;
    };
    this.#commands = pipe('w');
    this.#output = pipe('r');
    this.#errors = pipe('r');
    folder.remove();
    spawn('sh', [], { stdio: theirs }).unref();
    for (const fd of theirs) closeSync(fd);
  }

  run(words: readonly string[], input: string): string {
    const command = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
    writeSync(
      this.#commands,
      `${command} <<'END OF INPUT'\n${input}END OF INPUT\nprintf '\\0%d\\0' $?\nprintf '\\0' >&2\n`,
    );
    const [output, status] = read(this.#output, 2);
    const [errors] = read(this.#errors, 1);
    if (status !== '0') throw new Error(`${words.join(' ')} ended with status ${status}\n${errors}`);
    return output!;
  }
}

/** Reads so many texts with a NUL behind each, and no more is there to read. */
function read(fd: number, count: number): string[] {
  const chunk = Buffer.alloc(65_536);
  const chunks: Buffer[] = [];
  for (;;) {
    const texts = Buffer.concat(chunks).toString().split(NUL);
    if (texts.length > count) return texts;
    const bytes = readSync(fd, chunk);
    if (bytes === 0) throw new Error('the shell that stands by has ended');
    chunks.push(Buffer.from(chunk.subarray(0, bytes)));
  }
}
