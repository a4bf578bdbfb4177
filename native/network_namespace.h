#ifndef VHOST_NET_NATIVE_NETWORK_NAMESPACE_H_
#define VHOST_NET_NATIVE_NETWORK_NAMESPACE_H_

#include <functional>
#include <string>

#include "call.h"
#include "fd.h"

namespace vhost_net {

// Makes a descriptor in the network namespace `path` (in the calling thread's where it is empty).
// `make` returns it, or -1 and errno, which is thrown as `refusal`. Another namespace is entered on
// a thread of its own that ends here, so that this one, which JavaScript goes on to use, never
// leaves its own.
Fd MakeInNetworkNamespace(const Call& call, const std::string& path,
                          const std::function<int()>& make, const Refusal& refusal);

}  // namespace vhost_net

#endif
