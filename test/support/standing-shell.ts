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
    try {
      const pipes = ['commands', 'output', 'errors'].map((name) => join(folder.path, name)) as [
        string,
        string,
        string,
      ];
      execFileSync('mkfifo', pipes);
      // While one is open both ways, no end of it waits for the other.
      const open = pipes.map((pipe) => openSync(pipe, 'r+'));
      const theirs = pipes.map((pipe, i) => openSync(pipe, i === 0 ? 'r' : 'w'));
      this.#commands = openSync(pipes[0], 'w');
      this.#output = openSync(pipes[1], 'r');
      this.#errors = openSync(pipes[2], 'r');
      spawn('sh', [], { stdio: theirs }).unref();
      for (const fd of [...open, ...theirs]) closeSync(fd);
    } finally {
      folder.remove();
    }
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
  let text = '';
  while (text.split(NUL).length <= count) {
    const bytes = readSync(fd, chunk);
    if (bytes === 0) throw new Error('the shell that stands by has ended');
    text += chunk.toString('latin1', 0, bytes);
  }
  return text.split(NUL);
}
