import { spawn } from 'node:child_process';
import { within } from './until.js';

export interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** Options of node itself. */
  readonly node?: readonly string[];
  /** A program that runs node in its place, such as setpriv, with its arguments. */
  readonly under?: readonly string[];
  /** Milliseconds that it may take. */
  readonly deadline?: number;
}

/** Runs a compiled program in a process of its own, to its end. */
export function runProgram(
  url: URL,
  args: readonly string[] = [],
  options: ProgramOptions = {},
): Promise<Ending> {
  const [program, ...rest] = [
    ...(options.under ?? []),
    process.execPath,
    ...(options.node ?? []),
    url.pathname,
    ...args,
  ];
  const child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  const ended = new Promise<Ending>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal, ...output }));
  });
  return within(`${url.pathname} ends`, ended, options.deadline).catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
}
