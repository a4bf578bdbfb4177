#include <napi.h>

#include "environment.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// A failure leaves its exception pending, which `require` then throws.
Napi::Object Initialise(Napi::Env env, Napi::Object exports) {
  if (Environment::Attach(env) && DefineVhost(env, exports) && DefineTun(env, exports) &&
      DefinePacket(env, exports) && DefineNetdev(env, exports) && DefineEventfd(env, exports) &&
      DefineMemory(env, exports) && DefinePoller(env, exports) && DefinePassing(env, exports) &&
      DefineFrames(env, exports))
    DefineDescriptor(env, exports);
  return exports;
}

}  // namespace

}  // namespace vhost_net

using vhost_net::Initialise;
NODE_API_MODULE(vhost_net, Initialise)
