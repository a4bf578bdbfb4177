/** Tells a person what happens. */
export type Say = (text: string) => void;

/**
 * Says the first of the same lines, and each whose number is twice that of the one said before: whoever can bring a line
 * about as often as he likes fills no disk with it. There must be few different ones.
 */
export function doublings(say: Say): Say {
  const counts = new Map<string, number>();
  return (line) => {
    const count = (counts.get(line) ?? 0) + 1;
    counts.set(line, count);
    if (Number.isInteger(Math.log2(count))) say(count === 1 ? line : `${line}, ${count} times by now`);
  };
}
