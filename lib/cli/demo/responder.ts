import { ETH_P_ARP, ETH_P_IP } from '../../abi/if-ether.js';
import { asksFor, makeArpReply } from '../wire/arp.js';
import { etherType, isFor, turnRound } from '../wire/ethernet.js';
import { IPPROTO_ICMP, isEchoRequest, makeEchoReply } from '../wire/icmp.js';
import { exchangeAddresses, ipv4PayloadFor } from '../wire/ipv4.js';

/** What can be seen of a station from outside: its two addresses, six bytes and four. */
export interface Station {
  readonly mac: Uint8Array;
  readonly ip: Uint8Array;
}

/**
 * Plays the station at the other end of the cable: makes an ARP request or an ICMP echo request that is for it the
 * reply, in place; whether there is one. Any other frame is left as it is.
 */
export function respond(frame: Uint8Array, { mac, ip }: Station): boolean {
  const type = etherType(frame);
  if (type === -1 || !isFor(frame, mac)) return false;
  if (type === ETH_P_ARP) {
    if (!asksFor(frame, ip)) return false;
    makeArpReply(frame, mac, ip);
  } else if (type === ETH_P_IP) {
    const payload = ipv4PayloadFor(frame, ip);
    if (payload?.protocol !== IPPROTO_ICMP || !isEchoRequest(frame, payload.start, payload.end)) return false;
    makeEchoReply(frame, payload.start, payload.end);
    exchangeAddresses(frame);
  } else return false;
  turnRound(frame, mac);
  return true;
}
