import { type ParseArgsConfig, parseArgs } from 'node:util';
import { suggest } from './suggest.js';

/** A command line that cannot be understood; exit status 2. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>;
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T; strict: true }>>['values'];

/** Options as node:util reads them; a wrong one is a `UsageError` that guesses which was meant. */
export function parseOptions<T extends Options>(args: readonly string[], options: T): Values<T> {
  for (const { name, rawName } of optionsOf(args)) {
    if (Object.hasOwn(options, name)) continue;
    const meant = suggest(name, Object.keys(options));
    throw new UsageError(`there is no option ${rawName}${meant ? `; did you mean --${meant}?` : ''}`);
  }
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // The first sentence says what is wrong, the rest how to pass what was not meant.
    throw new UsageError(error.message.split('. ')[0], { cause: error });
  }
}

function optionsOf(args: readonly string[]): { name: string; rawName: string }[] {
  const { tokens } = parseArgs({ args: [...args], strict: false, tokens: true });
  return tokens.filter((token) => token.kind === 'option');
}
