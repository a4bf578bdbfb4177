import assert from 'node:assert/strict';
import { explain } from '../../../lib/errors/hints.js';
import { refusal } from '../../support/fake-refusal.js';

type Explained = Error & { hint?: string };

function hintOf(name: string, args: readonly unknown[], code: string): string | undefined {
  return (explain(refusal(name, args, code)) as Explained).hint;
}

describe('explain', () => {
  it('says what mends a refusal whose cause is known', () => {
    const known: [RegExp, string, readonly unknown[], string][] = [
      [/modprobe vhost_net/, 'vhost.open', ['/dev/vhost-net'], 'ENOENT'],
      [/join its group/, 'vhost.open', ['/dev/vhost-net'], 'EACCES'],
      [/the module is not: modprobe vhost_net/, 'vhost.open', ['/dev/vhost-net'], 'ENODEV'],
      [/forbid the device/, 'vhost.open', ['/dev/vhost-net'], 'EPERM'],
      [/modprobe tun/, 'tun.open', ['/dev/net/tun'], 'ENOENT'],
      [/the module is not: modprobe tun/, 'tun.open', ['/dev/net/tun'], 'ENODEV'],
      [/forbid the device/, 'tun.open', ['/dev/net/tun'], 'EPERM'],
      [/forbid the device/, 'tun.open', ['/dev/tap12'], 'EPERM'],
      [/its group or root/, 'tun.open', ['/dev/net/tun'], 'EACCES'],
      [/macvtap node belongs to root/, 'tun.open', ['/dev/tap12'], 'EACCES'],
      [/CAP_NET_ADMIN/, 'tun.setIff', [3, 'tap0', 0], 'EPERM'],
      [/open already/, 'tun.setIff', [3, 'tap0', 0], 'EBUSY'],
      [/is no tap, or was made with other flags/, 'tun.setIff', [3, 'tap0', 0], 'EINVAL'],
      [/has an owner already/, 'vhost.setOwner', [3], 'EBUSY'],
      [/belongs to another process/, 'vhost.setVringNum', [3, 0, 8], 'EPERM'],
      [/not among those of VHOST_GET_FEATURES/, 'vhost.setFeatures', [3, 1n], 'EOPNOTSUPP'],
      [/no such queue/, 'vhost.getVringBase', [3, 2], 'ENOBUFS'],
      [/needs a log within reach/, 'vhost.setFeatures', [3, 1n], 'EFAULT'],
      [/not among those of VHOST_GET_BACKEND/, 'vhost.setBackendFeatures', [3, 1n], 'EOPNOTSUPP'],
      [/before VHOST_SET_OWNER/, 'vhost.setForkFromOwner', [3, 1], 'EBUSY'],
      [/1 a task/, 'vhost.setForkFromOwner', [3, 2], 'EINVAL'],
      [/1 big-endian/, 'vhost.setVringEndian', [3, 0, 2], 'EINVAL'],
      [/a region is empty/, 'vhost.setMemTable', [3, []], 'EFAULT'],
      [/the log is out of reach/, 'vhost.setLogBase', [3, 1n], 'EFAULT'],
      [/a power of two/, 'vhost.setVringNum', [3, 0, 7], 'EINVAL'],
      [/16 bits/, 'vhost.setVringBase', [3, 0, 65_536], 'EINVAL'],
      [/multiple of 2/, 'vhost.setVringAddr', [3, 0, {}], 'EINVAL'],
      [/VHOST_VRING_F_LOG/, 'vhost.setVringAddr', [3, 0, {}], 'EOPNOTSUPP'],
      [/no eventfd/, 'vhost.setVringCall', [3, 0, 9], 'EINVAL'],
      [/no eventfd/, 'vhost.setLogFd', [3, 9], 'EINVAL'],
      [/max_mem_regions/, 'vhost.setMemTable', [3, []], 'E2BIG'],
      [/no packet socket, tap or macvtap/, 'vhost.netSetBackend', [3, 0, 9], 'ENOTSOCK'],
      [/VHOST_SET_MEM_TABLE has not been called/, 'vhost.netSetBackend', [3, 0, 9], 'EFAULT'],
      [/its interface is gone/, 'vhost.netSetBackend', [3, 0, 9], 'EINVAL'],
      [/detach it first/, 'vhost.setVringNum', [3, 0, 8], 'EBUSY'],
      [/detach it first/, 'vhost.setVringBase', [3, 0, 0], 'EBUSY'],
    ];
    for (const [hint, name, args, code] of known)
      assert.match(hintOf(name, args, code) ?? '', hint, `${name} ${code}`);
  });

  it('says nothing of what it does not know', () => {
    assert.equal(hintOf('vhost.open', ['/dev/vhost-net'], 'EMFILE'), undefined);
    assert.equal(hintOf('vhost.setVringAddr', [3, 0, {}], 'EBUSY'), undefined);
    assert.equal(hintOf('eventfd.create', [], 'ENFILE'), undefined);
    assert.equal(hintOf('tun.open', ['/dev/tap12'], 'ENOENT'), undefined);
  });

  it('returns the same error, its message longer by the hint, once', () => {
    const error = refusal('vhost.setOwner', [3], 'EBUSY');
    const before = error.message;
    assert.equal(explain(error), error);
    const { hint } = error as Explained;
    assert.equal(error.message, `${before} (${hint})`);
    explain(error);
    assert.equal(error.message, `${before} (${hint})`);
    assert.equal(error.code, 'EBUSY');
    assert.equal(error.request, 'VHOST_SET_OWNER');
  });

  it('leaves alone what is no refusal', () => {
    for (const value of [undefined, 'text', 7, {}, new Error('plain')]) {
      assert.equal(explain(value), value);
      if (value instanceof Error) assert.equal(value.message, 'plain');
    }
  });
});
