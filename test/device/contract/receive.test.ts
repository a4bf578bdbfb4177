import assert from 'node:assert/strict';
import {
  BUFFERS,
  ContractDevice,
  type Descriptor,
  EVENT_IDX,
  HEADER,
  INDIRECT,
  INDIRECT_DESC,
  MRG_RXBUF,
  NEXT,
  PAGE,
  RX,
  VERSION_1,
  WRITE,
} from '../../support/contract-device.js';
import { Namespace } from '../../support/device-namespace.js';
import { differs } from '../../support/differences.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { until } from '../../support/until.js';

const frames = new NumberedFrames(600, 'b', 'a');
const FRAME = HEADER + frames.length;
const TABLE = 4 * PAGE;

describe('contract of a Vhost: the receive queue', function () {
  this.timeout(300_000);
  let namespace: Namespace;
  let device: ContractDevice;

  beforeEach(() => {
    namespace = Namespace.add();
    device = new ContractDevice(namespace);
    device.region.bytes.fill(0xff, BUFFERS);
  });
  afterEach(async () => {
    await device.close();
    await namespace.remove();
  });

  /** Buffers of these lengths, one behind the other in memory, each a chain of one descriptor. */
  function buffers(...lengths: number[]): Record<number, Descriptor> {
    let at = BUFFERS;
    return Object.fromEntries(
      lengths.map((length, i) => {
        at += length;
        return [i, { at: at - length, length, flags: WRITE }];
      }),
    );
  }

  /** That these bytes of the region are a frame with its header, which took so many buffers, or could take but one. */
  function expectFrame(
    number: number,
    buffers = differs('num_buffers where no buffers may be merged') === '1' ? 1 : 0xffff,
    at = BUFFERS,
  ): void {
    const { bytes } = device.region;
    assert.deepEqual([...bytes.subarray(at, at + 10)], Array(10).fill(0));
    assert.equal(bytes[at + 10]! | (bytes[at + 11]! << 8), buffers);
    frames.check(number, bytes, at + HEADER, frames.length);
  }

  it('fills a buffer with a frame, and tells how long it is', async () => {
    await device.start();
    device.describe(RX, buffers(2048));
    device.offer(RX, [0]);
    device.arrive(frames.frame(1));
    assert.deepEqual(await device.outcome(RX, 1), { used: [[0, FRAME]], failed: false, base: 1 });
    expectFrame(1);
    await until('the driver is called', () => device.counted(device.calls[RX]!) > 0);
  });

  it('fills one of several descriptors, directly and by a table', async () => {
    await device.start(VERSION_1 | INDIRECT_DESC);
    const chain = {
      0: { at: BUFFERS, length: 5, flags: WRITE | NEXT, next: 1 },
      1: { at: BUFFERS + 5, length: 100, flags: WRITE | NEXT, next: 2 },
      2: { at: BUFFERS + 105, length: 1000, flags: WRITE },
    };
    device.describe(RX, chain);
    device.offer(RX, [0]);
    device.arrive(frames.frame(1));
    await device.outcome(RX, 1);
    expectFrame(1);
    device.region.bytes.fill(0xff, BUFFERS);
    device.describe(RX, chain, TABLE);
    device.describe(RX, { 7: { at: TABLE, length: 48, flags: INDIRECT } });
    device.offer(RX, [7]);
    device.arrive(frames.frame(2));
    const used = [
      [0, FRAME],
      [7, FRAME],
    ];
    assert.deepEqual(await device.outcome(RX, 2), { used, failed: false, base: 2 });
    expectFrame(2);
  });

  it('spreads a frame over as many buffers as it takes, where they may be merged', async () => {
    await device.start(VERSION_1 | MRG_RXBUF);
    device.describe(RX, buffers(200, 300, 400, 2048));
    device.offer(RX, [0, 1, 2, 3]);
    device.arrive(frames.frame(1));
    const used = [
      [0, 200],
      [1, 300],
      [2, FRAME - 500],
    ];
    assert.deepEqual(await device.outcome(RX, 3), { used, failed: false, base: 3 });
    expectFrame(1, 3);
    device.arrive(frames.frame(2));
    assert.deepEqual(await device.outcome(RX, 4), { used: [...used, [3, FRAME]], failed: false, base: 4 });
    expectFrame(2, 1, BUFFERS + 900);
  });

  it('waits for a buffer with the frames that came before there was one', async () => {
    await device.start(VERSION_1, 0xffff);
    for (const number of [1, 2]) device.arrive(frames.frame(number));
    device.describe(RX, buffers(2048, 2048));
    device.offer(RX, [0]);
    await device.outcome(RX, 1, false, 0xffff);
    expectFrame(1);
    device.offer(RX, [1]);
    const used = [
      [0, FRAME],
      [1, FRAME],
    ];
    assert.deepEqual(await device.outcome(RX, 2, false, 0xffff), { used, failed: false, base: 1 });
    expectFrame(2, undefined, BUFFERS + 2048);
  });

  it('waits for more buffers where a frame takes more than there are, and loses nothing', async () => {
    await device.start(VERSION_1 | MRG_RXBUF);
    device.describe(RX, buffers(200, 2048));
    device.offer(RX, [0]);
    device.arrive(frames.frame(1));
    device.offer(RX, [1]);
    const used = [
      [0, 200],
      [1, FRAME - 200],
    ];
    assert.deepEqual(await device.outcome(RX, 2), { used, failed: false, base: 2 });
    expectFrame(1, 2);
  });

  it('drops a frame that is longer than its buffer where none may be merged, and keeps the buffer', async () => {
    await device.start();
    device.describe(RX, buffers(FRAME - 1));
    device.offer(RX, [0]);
    device.arrive(frames.frame(1));
    const short = new NumberedFrames(60, 'b', 'a');
    device.arrive(short.frame(2));
    assert.deepEqual(await device.outcome(RX, 1), { used: [[0, HEADER + 60]], failed: false, base: 1 });
    short.check(2, device.region.bytes, BUFFERS + HEADER, 60);
  });

  for (const [title, descriptor] of [
    ['in no memory', { address: 2 ** 46, length: 2048, flags: WRITE }],
    ['that leads out of the ring', { at: BUFFERS, length: 2048, flags: WRITE | NEXT, next: 64 }],
  ] as [string, Descriptor][])
    it(`tells an error of a buffer ${title}, keeps it and the frame, and goes on when it is mended`, async () => {
      await device.start();
      device.describe(RX, { 0: descriptor });
      device.offer(RX, [0]);
      device.arrive(frames.frame(1));
      assert.deepEqual(await device.outcome(RX, 0, true), { used: [], failed: true, base: 0 });
      device.describe(RX, buffers(2048));
      device.signal(device.kicks[RX]!);
      const { used, base } = await device.outcome(RX, 1, true);
      assert.deepEqual([used, base], [[[0, FRAME]], 1]);
      expectFrame(1);
    });

  it('tells an error of a buffer to be read, whose head is lost or kept, and keeps the frame', async () => {
    await device.start();
    device.describe(RX, { 0: { at: BUFFERS, length: 2048 } });
    device.offer(RX, [0]);
    device.arrive(frames.frame(1));
    const lost = differs('heads of chains that break a rule') === 'lost';
    assert.deepEqual(await device.outcome(RX, 0, true), { used: [], failed: true, base: lost ? 1 : 0 });
    device.describe(RX, buffers(2048, 2048));
    device.offer(RX, [1]);
    const { used } = await device.outcome(RX, 1, true);
    assert.deepEqual(used, [[lost ? 1 : 0, FRAME]]);
    expectFrame(1, undefined, lost ? BUFFERS + 2048 : BUFFERS);
  });

  it('calls the driver when the used index passes what it asked for', async () => {
    await device.start(VERSION_1 | EVENT_IDX);
    device.describe(RX, buffers(2048));
    device.wantCallAt(RX, 0);
    device.offer(RX, [0]);
    device.arrive(frames.frame(1));
    await until('the driver is called', () => device.counted(device.calls[RX]!) === 1);
    device.wantCallAt(RX, 2);
    for (const used of [2, 3]) {
      device.offer(RX, [0]);
      device.arrive(frames.frame(used));
      await device.outcome(RX, used);
    }
    await until('the driver is called again', () => device.counted(device.calls[RX]!) === 2);
  });
});
