import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** Options for Node itself. */
  readonly node?: readonly string[];
  readonly arguments?: readonly string[];
  /** Runs it in a network namespace of its own. */
  readonly isolated?: boolean;
}

/** Runs one of `programs/` in a process of its own. */
export async function runProgram(name: string, options: ProgramOptions = {}): Promise<Ended> {
  const path = fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url));
  const command = [process.execPath, ...(options.node ?? []), path, ...(options.arguments ?? [])];
  if (options.isolated) command.unshift('unshare', '--net');
  const child = spawn(command[0], command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [status, signal] = await once(child, 'close');
  return { status, signal, stdout, stderr };
}

/** Runs a program that must end well, and returns the JSON it printed last. */
export async function resultOf(name: string, options?: ProgramOptions): Promise<unknown> {
  const { status, signal, stdout, stderr } = await runProgram(name, options);
  assert.deepEqual({ status, signal }, { status: 0, signal: null }, `${stdout}\n${stderr}`);
  const line = stdout.trimEnd().split('\n').at(-1);
  assert.ok(line, `nothing printed; ${stderr}`);
  return JSON.parse(line);
}
