import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('../../../../', import.meta.url);

describe('binding.gyp', () => {
  it('has the sources that CMakeLists.txt finds: every C++ file of native/', () => {
    const [target] = JSON.parse(readFileSync(new URL('binding.gyp', root), 'utf8')).targets;
    const files = readdirSync(new URL('native/', root))
      .filter((name) => name.endsWith('.cc'))
      .sort();
    assert.deepEqual(
      target.sources,
      files.map((name) => `native/${name}`),
    );
    const development = readFileSync(new URL('CMakeLists.txt', root), 'utf8');
    assert.match(
      development,
      /^file\(GLOB SOURCES CONFIGURE_DEPENDS \$\{CMAKE_SOURCE_DIR\}\/native\/\*\.cc\)$/m,
    );
    for (const define of target.defines) assert.ok(development.includes(define), define);
  });
});
