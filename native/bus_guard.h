#ifndef VHOST_NET_NATIVE_BUS_GUARD_H_
#define VHOST_NET_NATIVE_BUS_GUARD_H_

#include <cstddef>

namespace vhost_net {

// Keeps the process alive when a file that it maps is cut short by whoever else has it: the first
// touch of what is gone (SIGBUS, BUS_ADRERR) puts zeroed memory of the process's own in the place
// of the whole mapping. Other SIGBUS go where they went before.
void GuardMapping(void* start, size_t length);
// Before munmap(2); nothing for a mapping that is not guarded.
void UnguardMapping(void* start);

}  // namespace vhost_net

#endif
