import { openSync, readFileSync, writeSync } from 'node:fs';

const WORD = 8;

/**
 * Numbers that a program writes down as it goes, in a file: they are there however it ends, up to the last step, where
 * what it sends to its parent is not. The file stays open until then.
 */
export class Diary {
  readonly #fd: number;
  readonly #word = new Float64Array(1);

  /** Begins one; an older one at this path is gone. */
  constructor(path: string) {
    this.#fd = openSync(path, 'w');
  }

  /** Writes a number over the one at this place. */
  note(place: number, number: number): void {
    this.#word[0] = number;
    writeSync(this.#fd, this.#word, 0, WORD, place * WORD);
  }
}

/** What stands at the first places of a diary; 0 where nothing was noted. */
export function readDiary(path: string, places: number): number[] {
  const bytes = readFileSync(path);
  return Array.from({ length: places }, (_, i) =>
    bytes.length >= (i + 1) * WORD ? bytes.readDoubleLE(i * WORD) : 0,
  );
}
