import type { CheckResult, Diagnosis } from './diagnosis.js';

const WIDTH = 110;
const STATUS_WIDTH = 'blocked'.length;

/** A diagnosis as a person reads it: a line for each check, and below it the command that mends it. */
export function report({ ready, kernel, node, arch, checks }: Diagnosis): string {
  const nameWidth = Math.max(...checks.map(({ name }) => name.length));
  const indent = ' '.repeat(STATUS_WIDTH + 2 + nameWidth + 2);
  const lines = checks.flatMap(({ status, name, detail, mend, optional }) => {
    const text = wrap(status === 'ok' || !optional ? detail : `${detail} (optional)`, WIDTH - indent.length);
    return [
      `${status.padEnd(STATUS_WIDTH)}  ${name.padEnd(nameWidth)}  ${text[0]}`,
      ...text.slice(1).map((line) => indent + line),
      ...(mend === undefined ? [] : [`${indent}→ ${mend}`]),
    ];
  });
  return [`Linux ${kernel} on ${arch}, Node ${node}`, '', ...lines, '', verdict(ready, checks), ''].join(
    '\n',
  );
}

function verdict(ready: boolean, checks: readonly CheckResult[]): string {
  if (ready) return 'Ready: a Nic can be opened on a tap.';
  const names = checks.filter(({ status, optional }) => status !== 'ok' && !optional).map(({ name }) => name);
  return `Not ready: ${names.join(', ')}.`;
}

/** Lines of at most `width` characters, broken at blanks; a longer word stays whole. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
