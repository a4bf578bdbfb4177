import type { Machine } from './machine.js';

/** A command as this user has to give it. */
export function asRoot(machine: Machine, command: string): string {
  return machine.isRoot ? command : `sudo ${command}`;
}

/** What starts this container anew with all that a `Nic` needs of its host; `undefined` outside of containers. */
export function inContainer(machine: Machine): string | undefined {
  const options = '--device /dev/vhost-net --device /dev/net/tun --cap-add NET_ADMIN IMAGE';
  if (machine.read('/.dockerenv') !== undefined) return `docker run ${options}`;
  if (machine.read('/run/.containerenv') !== undefined) return `podman run ${options}`;
  return undefined;
}

/** Where a kernel is to be had that lacks nothing. */
export const IN_VM = 'npm run vm -- COMMAND, in a checkout of vhost-net';

/** How a program gets at a device that the rules of its control group forbid. */
export function allowed(machine: Machine, path: string): string {
  return inContainer(machine) ?? asRoot(machine, `systemctl set-property UNIT 'DeviceAllow=${path} rw'`);
}

/** How a user gets at a device node. */
export function accessTo(machine: Machine, path: string): string {
  const node = machine.device(path);
  const group = node && groupName(machine, node.gid);
  if (node !== undefined && group !== undefined && node.gid !== 0 && (node.mode & 0o060) === 0o060)
    return asRoot(machine, `usermod -aG ${group} $USER`).concat(' (then log in anew)');
  return asRoot(machine, `setfacl -m u:$USER:rw ${path}`);
}

function groupName(machine: Machine, gid: number): string | undefined {
  const lines = (machine.read('/etc/group') ?? '').split('\n').map((line) => line.split(':'));
  return lines.find(([, , id]) => Number(id) === gid)?.[0];
}
