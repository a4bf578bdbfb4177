import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { Namespace } from '../support/device-namespace.js';

const root = new URL('../../../', import.meta.url);

describe("the README's example", function () {
  this.timeout(300_000);

  it('runs as it stands', async () => {
    const readme = readFileSync(new URL('README.md', root), 'utf8');
    const [, example] = /```js\n(import .*?)```/s.exec(readme)!;
    // In the build output, from where the package finds itself by name.
    const program = new URL('dist/readme-example.mjs', root);
    writeFileSync(program, example!);
    const namespace = Namespace.add();
    try {
      const printed = namespace.run(process.execPath, program.pathname);
      assert.match(printed, /^\{ completed: 3, abandoned: 0, withdrawn: 0 \}$/m);
    } finally {
      await namespace.remove();
    }
  });
});
