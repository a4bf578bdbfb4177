import { hostKernel } from '../../../../lib/kernel/host.js';

/** A callback that throws each time. */
const { poller, eventfd } = hostKernel();
const fd = eventfd.create();
const uncaught: string[] = [];
let calls = 0;

if (process.argv[2] === 'caught')
  process.on('uncaughtException', (error: Error | undefined) => {
    uncaught.push(error === undefined ? 'undefined' : error.message);
    if (calls < 4) eventfd.signal(fd);
    else watch.close();
  });
const watch = poller.watchEventfd(fd, () => {
  calls++;
  if (calls === 3) throw undefined;
  throw new Error(`thrown ${calls}`);
});
eventfd.signal(fd);
process.on('exit', () => console.log(JSON.stringify({ uncaught, calls })));
