// Lets `npx vhost-net` run what this checkout has compiled. npm links a command only where it installs the package,
// and without the link npx would install the checkout into its cache, with all that this builds.
import { chmodSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = `${root}node_modules/.bin`;

chmodSync(`${root}dist/lib/cli/main.js`, 0o755);
mkdirSync(folder, { recursive: true });
rmSync(`${folder}/vhost-net`, { force: true });
symlinkSync('../../dist/lib/cli/main.js', `${folder}/vhost-net`);
