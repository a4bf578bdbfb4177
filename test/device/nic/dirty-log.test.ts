import assert from 'node:assert/strict';
import type { PageRange } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { until } from '../../support/until.js';

const PAGE = 4096;

function pages(ranges: readonly PageRange[]): Set<number> {
  return new Set(
    ranges.flatMap(({ guestPhysicalAddress, size }) =>
      Array.from({ length: size / PAGE }, (_, i) => guestPhysicalAddress / PAGE + i),
    ),
  );
}

describe('the dirty log', function () {
  this.timeout(300_000);
  let cable: Cable;
  beforeEach(async () => {
    cable = await Cable.lay({ queueSize: 64 });
  });
  afterEach(() => cable.remove());

  /** Receives `count` frames into the buffers that are posted, and takes none of them. */
  async function arrive(count: number): Promise<void> {
    const frames = new NumberedFrames(1000, 'a', 'b');
    const before = cable.b.rx.ring.reapable;
    await cable.a.submit(Array.from({ length: count }, (_, i) => frames.frame(i))).completed;
    await until('the frames came', () => cable.b.rx.ring.reapable === before + count);
  }

  it('holds every page that receives changed, into buffers posted before it began', async () => {
    const { b } = cable;
    const [region] = b.memory.regions;
    const log = await b.startDirtyLog();
    const before = region!.bytes.slice();
    await arrive(20);
    const logged = pages(log.take());
    const after = region!.bytes.slice();
    const first = region!.guestPhysicalAddress / PAGE;
    const changed = new Set<number>();
    for (let page = 0; page < region!.size / PAGE; page++)
      if (
        Buffer.compare(
          before.subarray(page * PAGE, (page + 1) * PAGE),
          after.subarray(page * PAGE, (page + 1) * PAGE),
        )
      )
        changed.add(first + page);
    assert.ok(changed.size >= 10, `20 frames of 1000 bytes change at least 10 pages, not ${changed.size}`);
    for (const page of changed) assert.ok(logged.has(page), `page ${page} changed and is not in the log`);
    assert.ok(
      logged.size <= changed.size + 2,
      `the log holds ${logged.size} pages where ${changed.size} changed: no more than the rings beside them`,
    );
  });

  it('is cleared by reading, and goes on', async () => {
    const log = await cable.b.startDirtyLog();
    await arrive(5);
    assert.ok(log.take().length > 0);
    assert.deepEqual(log.take(), []);
    await arrive(5);
    assert.ok(log.take().length > 0);
  });

  it('ends, and begins anew', async () => {
    await cable.b.startDirtyLog();
    await assert.rejects(cable.b.startDirtyLog(), { code: 'ERR_VHOST_IN_USE' });
    await cable.b.stopDirtyLog();
    await arrive(5);
    const log = await cable.b.startDirtyLog();
    assert.deepEqual(log.take(), []);
    await arrive(5);
    assert.ok(log.take().length > 0);
  });
});
