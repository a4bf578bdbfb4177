/** Opens what its argument says, as JSON, and prints how that ended, as JSON. */
import { KernelVhost, Nic } from '../../../../lib/index.js';

const { vhost, tap } = JSON.parse(process.argv[2]!) as {
  vhost?: string;
  tap?: { name: string; netns: string };
};
try {
  if (tap === undefined) KernelVhost.open({ path: vhost! }).close();
  else await (await Nic.open({ tap, ...(vhost !== undefined && { vhost }) })).close();
  console.log(JSON.stringify({ opened: true }));
} catch (error) {
  // What an Error says of itself does not show in JSON.
  const { code, syscall, path, request, hint, message } = error as Record<string, unknown>;
  console.log(JSON.stringify({ code, syscall, path, request, hint, message }));
}
