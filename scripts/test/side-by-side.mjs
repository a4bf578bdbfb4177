/**
 * @typedef {object} Out where a job writes, while others run beside it
 * @property {(chunk: Buffer | string) => void} stdout
 * @property {(chunk: Buffer | string) => void} stderr
 */
/** @typedef {{write(chunk: Buffer | string): unknown}} Writable */
/** @typedef {{stream: Writable, chunk: Buffer | string}} Held */
/** @typedef {{held: Held[], ended: boolean}} Script */

/**
 * Runs jobs side by side, so many at a time, begun in their order. One of those that run prints as it goes; what the others
 * write is held back until it is their turn, so that no two mix.
 *
 * @template T
 * @param {readonly ((out: Out) => Promise<T>)[]} jobs
 * @param {number} lanes
 * @param {object} [options]
 * @param {AbortSignal} [options.signal] none is begun once it is aborted
 * @param {Writable} [options.stdout]
 * @param {Writable} [options.stderr]
 * @returns {Promise<T[]>} in the order of the jobs
 */
export async function sideBySide(jobs, lanes, options = {}) {
  const { signal, stdout = process.stdout, stderr = process.stderr } = options;
  /** @type {Script[]} begun and not printed to their end, the first of which prints */
  const scripts = [];
  /** @param {Held[]} held */
  const print = (held) => {
    for (const { stream, chunk } of held.splice(0)) stream.write(chunk);
  };
  const passOn = () => {
    // Those that have ended come first: they are whole.
    scripts.sort((a, b) => Number(b.ended) - Number(a.ended));
    while (scripts[0]?.ended) print(scripts.shift()?.held ?? []);
    print(scripts[0]?.held ?? []);
  };
  /** @param {(out: Out) => Promise<T>} job */
  const perform = async (job) => {
    /** @type {Script} */
    const script = { held: [], ended: false };
    scripts.push(script);
    /** @param {Writable} stream @returns {(chunk: Buffer | string) => void} */
    const writer = (stream) => (chunk) => {
      if (script === scripts[0]) stream.write(chunk);
      else script.held.push({ stream, chunk });
    };
    try {
      return await job({ stdout: writer(stdout), stderr: writer(stderr) });
    } finally {
      script.ended = true;
      if (script === scripts[0]) passOn();
    }
  };
  /** @type {T[]} */
  const results = [];
  let next = 0;
  const lane = async () => {
    for (let job = jobs[next]; job !== undefined && !signal?.aborted; job = jobs[next]) {
      const index = next++;
      results[index] = await perform(job);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}
