import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { frameStream } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { type End, NumberedFrames } from '../../support/numbered-frames.js';
import { within } from '../../support/until.js';

const COUNT = 500;

describe('streams of frames', function () {
  this.timeout(120_000);
  let cable: Cable;

  beforeEach(async () => {
    cable = await Cable.lay();
  });
  afterEach(() => cable.remove());

  for (const [from, to] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const satisfies readonly (readonly [End, End])[])
    it(`carry what is piped into ${from} to whoever reads ${to}, whole and in order`, async () => {
      const frames = new NumberedFrames(200, from, to);
      const all = Array.from({ length: COUNT }, (_, i) => frames.frame(i));
      const reading = (async () => {
        let number = 0;
        for await (const frame of frameStream(cable[to])) {
          frames.check(number++, frame);
          if (number === COUNT) return;
        }
      })();
      const sink = frameStream(cable[from]);
      await pipeline(Readable.from(all), sink, { end: false });
      await within(`${COUNT} frames came`, reading);
      sink.destroy();
    });
});
