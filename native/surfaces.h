#ifndef VHOST_NET_NATIVE_SURFACES_H_
#define VHOST_NET_NATIVE_SURFACES_H_

#include <napi.h>

namespace vhost_net {

// Each puts one kernel surface on the exports; false with an exception pending.
bool DefineVhost(napi_env env, napi_value exports);
bool DefineTun(napi_env env, napi_value exports);
bool DefinePacket(napi_env env, napi_value exports);
bool DefineNetdev(napi_env env, napi_value exports);
bool DefineEventfd(napi_env env, napi_value exports);
bool DefineMemory(napi_env env, napi_value exports);
bool DefinePoller(napi_env env, napi_value exports);
bool DefinePassing(napi_env env, napi_value exports);
bool DefineFrames(napi_env env, napi_value exports);
bool DefineDescriptor(napi_env env, napi_value exports);

}  // namespace vhost_net

#endif
