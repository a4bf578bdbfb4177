// Lets everything pass between a guest and a tap but IPv6:
//
//   npx vhost-net proxy --socket /run/vm0.sock --tap tap0 --program filter.mjs
const IPV6 = 0x86dd;

/** @param {Uint8Array} frame */
const passes = (frame) => ((frame[12] << 8) | frame[13]) !== IPV6;

/** @type {import('vhost-net').ProxyProgramFactory} */
export default ({ deliver, send }) => ({
  transmit: (frame) => (passes(frame) ? send(frame) : undefined),
  receive: (frame) => {
    if (passes(frame)) deliver(frame);
  },
});
