import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

interface Manifest {
  readonly main: string;
  readonly types: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: { readonly '.': { readonly types: string; readonly default: string } };
}

/** What `npm pack` would put into the package; nothing is built or written for it. */
function packed(): string[] {
  const text = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files }] = JSON.parse(text) as [{ files: { path: string }[] }];
  return files.map(({ path }) => path);
}

/** Every file below a folder of the checkout. */
function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => `${folder}/${path}`);
}

describe('the package', function () {
  this.timeout(60_000);

  let files: string[];

  before(() => {
    files = packed();
  });

  it('has all that it takes to build the addon and to run', () => {
    const needed = ['package.json', 'binding.gyp', 'README.md', 'LICENSE'].filter((path) =>
      existsSync(`${root}${path}`),
    );
    needed.push(...filesBelow('native', '.cc'), ...filesBelow('native', '.h'));
    for (const source of filesBelow('lib', '.ts')) {
      const built = `dist/${source.slice(0, -'.ts'.length)}`;
      needed.push(source, `${built}.js`, `${built}.d.ts`, `${built}.js.map`);
    }
    const missing = needed.filter((path) => !files.includes(path));
    assert.deepEqual(missing, []);
  });

  it('has nothing else', () => {
    const meant = [
      /^package\.json$/,
      /^README\.md$/,
      /^LICENSE$/,
      /^binding\.gyp$/,
      /^native\/[\w-]+\.(cc|h)$/,
      /^lib\/[\w/-]+\.ts$/,
      /^dist\/lib\/[\w/-]+\.(js|d\.ts|js\.map)$/,
      /^docs\/[\w-]+\.(md|svg)$/,
      /^examples\/vhost-user\/[\w@-]+\.(mjs|service)$/,
    ];
    const others = files.filter((path) => !meant.some((pattern) => pattern.test(path)));
    assert.deepEqual(others, []);
  });

  it('has what its manifest points at', () => {
    const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as Manifest;
    const { main, types, bin, exports } = manifest;
    for (const path of [main, types, ...Object.values(bin), exports['.'].types, exports['.'].default])
      assert.ok(files.includes(path.replace(/^\.\//, '')), path);
  });

  it('has what its pages link to', () => {
    const links = files
      .filter((path) => path.endsWith('.md'))
      .flatMap((page) =>
        [...readFileSync(`${root}${page}`, 'utf8').matchAll(/\]\((?!\w+:)([^)#]+)/g)].map(([, target]) =>
          join(dirname(page), target!),
        ),
      );
    assert.ok(links.length > 0);
    assert.deepEqual(
      links.filter((path) => !files.includes(path)),
      [],
    );
  });

  it('has a source behind every file that is built', () => {
    const orphans = files
      .filter((path) => path.startsWith('dist/lib/') && path.endsWith('.js'))
      .map((path) => `${path.slice('dist/'.length, -'.js'.length)}.ts`)
      .filter((source) => !files.includes(source));
    assert.deepEqual(orphans, [], 'remove dist and build again');
  });
});
