/** What the program may do, for tests to take away. */
export interface Privileges {
  /** CAP_NET_ADMIN: make interfaces and change them. */
  netAdmin: boolean;
  /** CAP_NET_RAW: open packet sockets. */
  netRaw: boolean;
}
