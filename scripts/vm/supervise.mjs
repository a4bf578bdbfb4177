import { spawn } from 'node:child_process';

/**
 * @typedef {object} Supervised
 * @property {string} name
 * @property {number | undefined} pid
 * @property {string | undefined} ended how it ended, once it has
 * @property {Promise<string>} end settles when it has ended, with how
 * @property {() => string} said the last that it printed
 * @property {(patience?: number) => Promise<string>} stop ends it, and waits for that; it may end by itself first, for
 *   so many milliseconds
 */

const KEPT = 4000;

/**
 * Starts a program that must not outlive this one: the kernel kills it when this process is gone, however that goes.
 *
 * @param {string} name for messages
 * @param {string} program
 * @param {string[]} args
 * @returns {Supervised}
 */
export function supervise(name, program, args) {
  // In a session of its own: a Ctrl-C at the terminal is for the command inside, and is handed on by us.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let text = '';
  /** @param {Buffer} chunk */
  const keep = (chunk) => {
    text = (text + chunk.toString('latin1')).slice(-KEPT);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  /** @type {Supervised} */
  const supervised = {
    name,
    pid: child.pid,
    ended: undefined,
    end: new Promise((resolve) => {
      /** @param {string} how */
      const over = (how) => {
        supervised.ended ??= how;
        resolve(supervised.ended);
      };
      child.on('error', (error) => over(`it did not start: ${error.message}`));
      child.on('exit', (status, signal) => over(signal ? `killed by ${signal}` : `exit status ${status}`));
    }),
    said: () => text.trim(),
    stop: async (patience = 0) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), patience);
      return supervised.end.finally(() => clearTimeout(timer));
    },
  };
  return supervised;
}
