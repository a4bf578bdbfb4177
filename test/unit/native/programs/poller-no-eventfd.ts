import { closeSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { openFifo } from '../fifo.js';

/** Watches, as if it were an eventfd, a descriptor that is readable for ever and gives no 8 bytes. */
const { poller } = hostKernel();
const uncaught: { code: string; syscall: string }[] = [];
let calls = 0;
process.on('uncaughtException', (error: Error & { code: string; syscall: string }) => {
  uncaught.push({ code: error.code, syscall: error.syscall });
});
const { reader, writer } = openFifo();
closeSync(writer);
const watch = poller.watchEventfd(reader, () => calls++);
while (uncaught.length === 0) await nextTurn();
for (let i = 0; i < 10; i++) await nextTurn();
watch.close();
console.log(JSON.stringify({ uncaught, calls }));
