#ifndef VHOST_NET_NATIVE_ERRORS_H_
#define VHOST_NET_NATIVE_ERRORS_H_

#include <napi.h>

#include <cstdint>
#include <string>

namespace vhost_net {

inline constexpr int64_t kNoQueue = -1;

// What was asked of the kernel when it refused.
struct Refusal {
  const char* syscall;
  // The kernel's name of an ioctl request or a socket option.
  const char* request = nullptr;
  int64_t queue = kNoQueue;
  const char* path = nullptr;
};

// A Node-shaped error for `error` (a positive errno).
napi_value RefusalError(napi_env env, int error, const Refusal& refusal);

// Throws it; returns nullptr, for a method to return.
napi_value ThrowRefusal(napi_env env, int error, const Refusal& refusal);

// TypeError ERR_VHOST_INVALID_ARGUMENT.
void ThrowInvalidArgument(napi_env env, const std::string& message);

// RangeError ERR_VHOST_OUT_OF_RANGE.
void ThrowOutOfRange(napi_env env, const std::string& message);

// Error ERR_VHOST_UNSUPPORTED.
void ThrowUnsupported(napi_env env, const std::string& message);

}  // namespace vhost_net

#endif
