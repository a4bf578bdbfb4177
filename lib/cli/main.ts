#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { debuglog, parseArgs } from 'node:util';
import type { Command } from './command.js';
import { suggest } from './suggest.js';
import { table } from './table.js';
import { UsageError } from './usage.js';

interface Entry {
  readonly summary: string;
  /** Each command is loaded alone, so that one works where what another needs is missing. */
  readonly load: () => Promise<Command>;
}

const commands: Readonly<Record<string, Entry>> = {
  doctor: {
    summary: 'tells what is missing on this machine, and what mends it',
    load: async () => (await import('./doctor/command.js')).doctor,
  },
  demo: {
    summary: 'real frames both ways: ping against a station that Node plays',
    load: async () => (await import('./demo/command.js')).demo,
  },
  proxy: {
    summary: "gives QEMU or DPDK the kernel's vhost-net over vhost-user",
    load: async () => (await import('./proxy/command.js')).proxy,
  },
};

const HELP = `Usage: vhost-net COMMAND [OPTION…]

${table(Object.entries(commands).map(([name, { summary }]) => [`  ${name}`, summary]))}
  vhost-net COMMAND --help   the options of a command
  vhost-net --version
`;

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  if (name === undefined || name.startsWith('-')) return withoutCommand(name);
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (entry === undefined) {
    const meant = suggest(name, Object.keys(commands));
    throw new UsageError(
      `there is no command ${name}${meant ? `; did you mean ${meant}?` : ''} (vhost-net --help lists them)`,
    );
  }
  const command = await entry.load();
  if (asksForHelp(args)) {
    process.stdout.write(command.help);
    return 0;
  }
  const signal = interruption();
  try {
    return await command.run(args, {
      signal,
      out: (text) => void process.stdout.write(text),
      err: (text) => void process.stderr.write(text),
    });
  } catch (error) {
    // The end that was asked for is no failure of ours, and what it broke off is not worth a word.
    if (signal.aborted && !(error instanceof UsageError))
      return 128 + constants.signals[signal.reason as NodeJS.Signals];
    throw error;
  }
}

function withoutCommand(option: string | undefined): number {
  if (option === '--version' || option === '-v') {
    const file = new URL('../../../package.json', import.meta.url);
    process.stdout.write(`${(JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version}\n`);
    return 0;
  }
  if (option === '--help' || option === '-h') {
    process.stdout.write(HELP);
    return 0;
  }
  if (option === undefined) throw new UsageError(`there is no command\n\n${HELP.trimEnd()}`);
  throw new UsageError(`there is no option ${option} (vhost-net --help)`);
}

function asksForHelp(args: readonly string[]): boolean {
  const { tokens } = parseArgs({ args: [...args], strict: false, tokens: true });
  return tokens.some((token) => token.kind === 'option' && ['help', 'h'].includes(token.name));
}

/** Aborts at the first request to end, with the signal's name; the second ends the program where it stands. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(128 + constants.signals[name]);
      controller.abort(name);
    });
  return controller.signal;
}

/** What went wrong, for a person; the stack only where NODE_DEBUG=vhost-net asks for it. */
function tell(error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`vhost-net: ${message}\n`);
  if (debuglog('vhost-net').enabled && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return error instanceof UsageError ? 2 : 1;
}

process.exitCode = await main(process.argv.slice(2)).catch(tell);
