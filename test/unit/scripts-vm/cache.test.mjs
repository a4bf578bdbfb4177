import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheFolder, makeOnce, withLock } from '../../../scripts/vm/cache.mjs';

describe('vm cache', () => {
  /** @type {string} */
  let folder;
  const variables = /** @type {{XDG_CACHE_HOME?: string}} */ (process.env);
  const before = variables.XDG_CACHE_HOME;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vm-cache-'));
    variables.XDG_CACHE_HOME = folder;
    await mkdir(cacheFolder());
  });
  afterEach(async () => {
    if (before === undefined) delete variables.XDG_CACHE_HOME;
    else variables.XDG_CACHE_HOME = before;
    await rm(folder, { recursive: true });
  });

  it('stands where the user keeps caches, outside of the checkout', () => {
    assert.equal(cacheFolder({ XDG_CACHE_HOME: '/c', HOME: '/h' }), '/c/vhost-net');
    assert.equal(cacheFolder({ XDG_CACHE_HOME: 'relative', HOME: '/h' }), '/h/.cache/vhost-net');
    assert.equal(cacheFolder({ HOME: '/h' }), '/h/.cache/vhost-net');
  });

  it('makes a thing once, and whole', async () => {
    const path = join(cacheFolder(), 'thing');
    const build = (/** @type {string} */ text) => async (/** @type {string} */ draft) => {
      await mkdir(draft);
      await sleep(5);
      await writeFile(join(draft, 'file'), text);
    };
    await Promise.all([makeOnce(path, build('same')), makeOnce(path, build('same'))]);
    await makeOnce(path, () => assert.fail('it was there'));
    assert.equal(await readFile(join(path, 'file'), 'utf8'), 'same');
    assert.deepEqual(await readdir(cacheFolder()), ['thing']);
  });

  it('keeps nothing of a thing that failed', async () => {
    const path = join(cacheFolder(), 'thing');
    await assert.rejects(
      makeOnce(path, async (draft) => {
        await writeFile(draft, 'half');
        throw new Error('no more');
      }),
      /no more/,
    );
    assert.deepEqual(await readdir(cacheFolder()), []);
  });

  it('lets one at a time through a lock', async () => {
    let inside = 0;
    const work = () =>
      withLock('one', async () => {
        inside += 1;
        assert.equal(inside, 1);
        await sleep(10);
        inside -= 1;
      });
    await Promise.all([work(), work(), work()]);
    assert.deepEqual(await readdir(cacheFolder()), []);
  });

  it('takes over the lock of a process that is gone', async () => {
    await writeFile(join(cacheFolder(), 'left.lock'), '4194305');
    assert.equal(await withLock('left', async () => 'mine', { patience: 2000 }), 'mine');
  });

  it('names the lock that it waited for in vain', async () => {
    await writeFile(join(cacheFolder(), 'busy.lock'), String(process.pid));
    await assert.rejects(
      withLock('busy', async () => {}, { patience: 10 }),
      { code: 'ERR_VM_LOCKED', message: /busy\.lock/ },
    );
  });
});
