#!/usr/bin/env node
import { codeOf, VmError } from './errors.mjs';
import { HELP, parseCommandLine } from './options.mjs';
import { runWithDevice } from './run.mjs';
import { showProgress } from './show-progress.mjs';
import { openTerminal } from './terminal.mjs';

/**
 * @param {string[]} argv
 * @returns {Promise<number>} the exit status
 */
async function main(argv) {
  const { command, help, quiet, shell, run } = parseCommandLine(argv);
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (shell && !(process.stdin.isTTY && process.stdout.isTTY)) {
    throw new VmError(
      'ERR_VM_USAGE',
      '--shell needs a terminal on its input and output; without one, give a command',
    );
  }
  const { SHELL: usual } = process.env;
  const [program = usual || '/bin/sh', ...args] = command;
  const interruption = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => interruption.abort(name));
  // A write that fails is told to the writer as well; this keeps the event from ending the process.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const say = quiet ? () => {} : showProgress(process.stderr);
  try {
    const { status, timedOut } = await runWithDevice({
      ...run,
      command: program,
      args,
      signal: interruption.signal,
      onProgress: say,
      ...(shell ? { terminal: openTerminal(process.stdin, process.stdout) } : {}),
      // A terminal stays with the person at it, who has --shell to use it inside.
      ...(shell || process.stdin.isTTY ? {} : { stdin: process.stdin }),
    });
    say('');
    if (timedOut)
      process.stderr.write(
        `vm: ended after the time limit of ${run.timeout ?? 1800} s; --timeout raises it\n`,
      );
    return status;
  } finally {
    say('');
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof VmError)) throw error;
  process.stderr.write(`vm: ${error.message}\n`);
  process.exitCode = codeOf(error) === 'ERR_VM_USAGE' ? 2 : 125;
}
