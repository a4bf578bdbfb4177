#ifndef VHOST_NET_NATIVE_DETACH_H_
#define VHOST_NET_NATIVE_DETACH_H_

#include <cstdint>

#include "call.h"

namespace vhost_net {

// VHOST_NET_SET_BACKEND with VHOST_FILE_UNBIND on a thread of the pool; a promise. The kernel waits
// there for the zero-copy frames still outstanding.
napi_value StartDetach(Call& call, int fd, uint32_t queue);

}  // namespace vhost_net

#endif
