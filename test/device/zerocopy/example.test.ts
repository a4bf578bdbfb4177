import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../../support/node-program.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const program = new URL('../../../../examples/late-completions/main.mjs', import.meta.url);
/** The colours of frames of 1000 bytes and of 64. */
const LARGE = '#c2410c';
const SMALL = '#1d4ed8';

describe('examples/late-completions', function () {
  this.timeout(300_000);

  // Elsewhere it would boot a VM that has it.
  if (process.env.VHOST_TEST_ZEROCOPY === '1')
    it('draws that small frames are done before larger ones that were sent earlier', async () => {
      const folder = temporaryFolder();
      try {
        const file = join(folder.path, 'late.svg');
        const { status, stdout, stderr } = await runProgram(program, [file], { deadline: 240_000 });
        assert.equal(status, 0, stderr);
        assert.match(stdout, /^link state async: 5 of 8 out of order$/m);
        assert.ok(stdout.endsWith(`drawn in ${file}\n`), stdout);
        const drawn = readFileSync(file, 'utf8');
        assert.match(drawn, /^<svg .*<\/svg>\n$/s);
        const dots = [...drawn.matchAll(/<circle cx="([\d.]+)" [^>]*fill="([^"]+)"/g)].slice(0, 8);
        const placesOf = (colour: string) =>
          dots.flatMap(([, x, fill]) => (fill === colour ? [Number(x)] : []));
        assert.deepEqual([placesOf(LARGE).length, placesOf(SMALL).length], [5, 3]);
        // A machine that is busy for as long as the delay finds all of them at once, in the order that is told above.
        assert.ok(Math.max(...placesOf(SMALL)) <= Math.min(...placesOf(LARGE)), drawn);
      } finally {
        folder.remove();
      }
    });
});
