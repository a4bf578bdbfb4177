import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { Control, MarkedStream } from '../../../scripts/vm/ports.mjs';

const MARK = Buffer.from('\0mark-of-this-run');

/** @param {Buffer[]} chunks */
const carry = (chunks) => {
  const stream = new MarkedStream(MARK);
  const output = chunks.map((chunk) => Buffer.from(stream.push(chunk)));
  return { stream, output: Buffer.concat([...output, stream.rest()]) };
};

describe('vm output', () => {
  it('is what came before the mark, wherever the chunks are cut', () => {
    const text = Buffer.from('one\r\n\0two\0mark-of-this\xff', 'latin1');
    const all = Buffer.concat([text, MARK]);
    for (let cut = 0; cut <= all.length; cut += 1) {
      const { stream, output } = carry([all.subarray(0, cut), all.subarray(cut)]);
      assert.equal(stream.complete, true);
      assert.deepEqual(output, text);
    }
    assert.deepEqual(carry([...all].map((byte) => Buffer.from([byte]))).output, text);
  });

  it('is held back only where it may be the mark', () => {
    const stream = new MarkedStream(MARK);
    assert.equal(stream.push(Buffer.from('a prompt> ')).toString(), 'a prompt> ');
    assert.equal(stream.push(Buffer.from('x\0mark')).toString(), 'x');
    assert.equal(stream.push(Buffer.from('!')).toString(), '\0mark!');
  });

  it('is not lost when it breaks off', () => {
    const { stream, output } = carry([Buffer.from('half\0mark')]);
    assert.equal(stream.complete, false);
    assert.equal(output.toString(), 'half\0mark');
  });
});

describe('vm control port', () => {
  it('reads lines, however they arrive', async () => {
    const socket = new PassThrough();
    const control = new Control(/** @type {import('node:net').Socket} */ (/** @type {unknown} */ (socket)));
    /** @type {string[]} */
    const heard = [];
    control.on('ready', (version) => heard.push(`ready ${version}`));
    control.on('status', (status) => heard.push(`status ${status}`));
    for (const part of ['re', 'ady 6.12', '\nstat', 'us 3\n']) socket.write(part);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(heard, ['ready 6.12', 'status 3']);
  });
});
