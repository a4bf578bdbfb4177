import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as abi from '../../../lib/abi/vhost.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { requests } from '../../support/fake-requests.js';

const checkout = new URL('../../../../', import.meta.url);
const page = readFileSync(new URL('docs/requests.md', checkout), 'utf8');
const deviceTests = readFileSync(new URL('test/device/control-plane.test.ts', checkout), 'utf8');
const iotlbTests = readFileSync(new URL('test/device/iotlb.test.ts', checkout), 'utf8');

/** Cells of the rows of all tables, without their headings. */
const rows = page
  .split('\n')
  .filter((line) => /^\| `/.test(line))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
const table = rows.filter((cells) => cells.length === 6);
const messages = rows.filter((cells) => cells.length === 5);

/** The name in a cell such as `setVringNum(queue, size)`. */
const nameIn = (cell = ''): string | undefined => /^`(?:KernelVhost\.)?(\w+)/.exec(cell)?.[1];

/** Constants that are numbers of requests: type 0xaf, and not the type itself. */
const constants = Object.entries(abi)
  .filter(([, value]) => value > 0xff && ((value >> 8) & 0xff) === abi.VHOST_VIRTIO)
  .map(([name]) => name);

describe('docs/requests.md', () => {
  it('has a row for every request of <linux/vhost.h>, and for none that is not there', () => {
    assert.equal(constants.length, 29);
    assert.deepEqual([...new Set(table.map(([request]) => nameIn(request)))].sort(), [...constants].sort());
  });

  it('has every method of KernelVhost once, and none that is not there', () => {
    const methods = [
      ...Object.getOwnPropertyNames(KernelVhost.prototype).filter((name) => name !== 'constructor'),
      ...Object.getOwnPropertyNames(KernelVhost).filter(
        (name) => !['length', 'name', 'prototype'].includes(name),
      ),
    ];
    const told = rows.map((cells) => nameIn(cells.length === 6 ? cells[1] : cells[0]));
    assert.deepEqual(told.sort(), methods.sort());
  });

  it('names the method that makes the request', () => {
    const native: Readonly<Record<string, string>> = {
      setBackend: 'netSetBackend',
      detachBackend: 'netDetachBackend',
    };
    for (const [request, method] of table) {
      const name = nameIn(method)!;
      assert.equal(requests[`vhost.${native[name] ?? name}`]?.request, nameIn(request), name);
    }
  });

  it('names tests that there are, on the device', () => {
    for (const [request, , , , , test] of table)
      assert.ok(deviceTests.includes(`it('${test}'`), `${request}: ${test}`);
    assert.equal(messages.length, 3);
    for (const [method, , , , test] of messages)
      assert.ok(iotlbTests.includes(`it('${test}'`), `${method}: ${test}`);
  });

  it('leaves no cell empty', () => {
    for (const cells of rows) assert.ok(!cells.includes(''), cells.join(' | '));
  });
});
