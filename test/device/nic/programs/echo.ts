// A program of the proxy that sends each frame back where it came from, with its addresses swapped.
import type { ProxyProgramFactory } from '../../../../lib/index.js';

const echo: ProxyProgramFactory = ({ deliver }) => {
  const waiting: (() => void)[] = [];
  return {
    transmit: async (frame) => {
      frame.set([...frame.subarray(6, 12), ...frame.subarray(0, 6)]);
      while (!deliver(frame)) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    writable: () => {
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
};
export default echo;
