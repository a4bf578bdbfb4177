/**
 * @typedef {object} Terminal
 * @property {() => {rows: number, columns: number}} size
 * @property {(tell: (size: {rows: number, columns: number}) => void) => () => void} onResize returns what stops it
 * @property {(socket: import('node:net').Socket) => () => void} attach joins it to the VM's; returns what parts them
 */

/**
 * This process's terminal, whose every key goes to the VM.
 *
 * @param {NodeJS.ReadStream} input
 * @param {NodeJS.WriteStream} output
 * @returns {Terminal}
 */
export function openTerminal(input, output) {
  const size = () => ({ rows: output.rows ?? 24, columns: output.columns ?? 80 });
  return {
    size,
    onResize: (tell) => {
      const listener = () => tell(size());
      output.on('resize', listener);
      return () => output.off('resize', listener);
    },
    attach: (socket) => {
      input.setRawMode(true);
      input.pipe(socket);
      socket.pipe(output, { end: false });
      return () => {
        input.unpipe(socket).pause();
        input.setRawMode(false);
      };
    },
  };
}
