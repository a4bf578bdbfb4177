#ifndef VHOST_NET_NATIVE_INTERFACE_REQUEST_H_
#define VHOST_NET_NATIVE_INTERFACE_REQUEST_H_

#include <net/if.h>

#include "call.h"

namespace vhost_net {

// The name in a struct ifreq, from an argument. One that does not fit is refused here: the kernel,
// which sees IFNAMSIZ bytes, would take a shorter one for it.
bool SetInterfaceName(const Call& call, size_t index, const char* name, ifreq* request);

// The name that the kernel wrote there.
napi_value InterfaceName(const Call& call, const ifreq& request);

}  // namespace vhost_net

#endif
