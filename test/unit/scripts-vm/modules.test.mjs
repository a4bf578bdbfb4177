import assert from 'node:assert/strict';
import { closure } from '../../../scripts/vm/initrd.mjs';
import { inOrder, moduleInfo, moduleName } from '../../../scripts/vm/modules.mjs';

/** @param {Record<string, string[]>} info */
const moduleFile = (info) =>
  Buffer.from(
    `\x7fELF\0${Object.entries(info)
      .flatMap(([key, values]) => values.map((value) => `${key}=${value}\0`))
      .join('')}`,
  );

const FILES = new Map(
  Object.entries({
    tap: moduleFile({ depends: ['tun'] }),
    tun: moduleFile({ depends: [''], alias: ['devname:net/tun', 'char-major-10-200'] }),
    vhost: moduleFile({ depends: ['vhost_iotlb'] }),
    vhost_iotlb: moduleFile({ depends: [''] }),
    vhost_net: moduleFile({ depends: ['vhost,tap,tun,vhost_iotlb'] }),
  }),
);
const read = async (/** @type {string} */ name) => FILES.get(name);

describe('vm kernel modules', () => {
  it('are named as the kernel names them', () => {
    assert.equal(moduleName('kernel/drivers/char/hw_random/virtio-rng.ko.xz'), 'virtio_rng');
    assert.equal(moduleName('kernel/net/8021q/8021q.ko'), '8021q');
    assert.equal(moduleName('vhost_net'), 'vhost_net');
  });

  it('tell what they need and what they answer to', () => {
    assert.deepEqual(moduleInfo(FILES.get('vhost_net') ?? Buffer.alloc(0), 'depends'), [
      'vhost,tap,tun,vhost_iotlb',
    ]);
    assert.deepEqual(moduleInfo(FILES.get('tun') ?? Buffer.alloc(0), 'alias'), [
      'devname:net/tun',
      'char-major-10-200',
    ]);
    assert.deepEqual(moduleInfo(Buffer.from('no module'), 'depends'), []);
  });

  it('come each after what it needs, and once', async () => {
    const { modules, missing } = await inOrder(['vhost-net', 'tun', 'vhost_net'], new Set(), read);
    const names = modules.map(({ name }) => name);
    assert.deepEqual(missing, []);
    assert.deepEqual([...names].sort(), [...FILES.keys()].sort());
    for (const { name, needs } of modules) {
      for (const need of needs) assert(names.indexOf(need) < names.indexOf(name), `${need} before ${name}`);
    }
  });

  it('are not loaded when built in, and reported when absent', async () => {
    const { modules, missing } = await inOrder(['tap', 'macvtap'], new Set(['tun']), read);
    assert.deepEqual(
      modules.map(({ name }) => name),
      ['tap'],
    );
    assert.deepEqual(missing, ['macvtap']);
  });

  it('that need one another in a circle do not hang', async () => {
    const circle = async (/** @type {string} */ name) => moduleFile({ depends: [name === 'a' ? 'b' : 'a'] });
    const { modules } = await inOrder(['a'], new Set(), circle);
    assert.deepEqual(
      modules.map(({ name }) => name),
      ['b', 'a'],
    );
  });

  it('list all they need, directly or not, the last to load first', async () => {
    const { modules } = await inOrder(['vhost_net'], new Set(), read);
    const all = closure(['vhost', 'tap'], modules);
    assert.deepEqual([...all].sort(), ['tap', 'tun', 'vhost', 'vhost_iotlb']);
    assert(all.indexOf('tap') < all.indexOf('tun'));
    assert(all.indexOf('vhost') < all.indexOf('vhost_iotlb'));
  });
});
