import { spawn } from 'node:child_process';

export interface ProgramResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds after which the program is ended. */
  readonly timeout?: number;
}

/** Runs a program to its end, in the locale C; rejects where it cannot be started or `signal` aborts. */
export function runProgram(
  program: string,
  args: readonly string[],
  { signal, timeout }: ProgramOptions = {},
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
      ...(signal && { signal }),
      ...(timeout && { timeout }),
    });
    const text = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text.stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      text.stderr += chunk;
    });
    child.on('error', reject);
    child.on('close', (status, ended) => resolve({ status, signal: ended, ...text }));
  });
}
