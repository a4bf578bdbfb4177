// A program of the proxy that passes frames on and fails at those that end with an odd byte.
import type { ProxyProgramFactory } from '../../../../lib/index.js';

const stumbling: ProxyProgramFactory = ({ deliver, send }) => ({
  transmit: async (frame) => {
    if (frame.at(-1)! % 2 === 1) throw new Error('an odd frame to send');
    await send(frame);
  },
  receive: (frame) => {
    if (frame.at(-1)! % 2 === 1) throw new Error('an odd frame received');
    deliver(frame);
  },
});
export default stumbling;
