#include <sys/eventfd.h>

#include <cerrno>
#include <cmath>
#include <iterator>

#include "call.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// eventfd(2) with EFD_NONBLOCK | EFD_CLOEXEC.
napi_value Create(Call& call) {
  Fd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.Valid()) return call.Refuse(errno, {"eventfd"});
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// write(2) of 1. The kick of every vring: hence without the reader of the other methods on the way
// that works.
napi_value Signal(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  double number = -1;
  napi_get_value_double(env, argument, &number);
  const int fd = number >= 0 && number <= INT32_MAX ? static_cast<int>(number) : -1;
  if (fd < 0 || fd != number) {
    int checked = -1;
    Call(env, info).Descriptor(0, "fd", &checked);
    return nullptr;
  }
  constexpr uint64_t kOne = 1;
  if (UninterruptedBySignals([&] { return write(fd, &kOne, sizeof(kOne)); }) == -1)
    return ThrowRefusal(env, errno, {"write"});
  return nullptr;
}

// read(2) of the counter.
napi_value Take(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  uint64_t count = 0;
  const ssize_t size = UninterruptedBySignals([&] { return read(fd, &count, sizeof(count)); });
  if (size == -1 && errno != EAGAIN) return call.Refuse(errno, {"read"});
  return call.Number(size == sizeof(count) ? static_cast<double>(count) : 0);
}

constexpr Method kMethods[] = {
    {"eventfd.create", Entry<Create>},
    {"eventfd.signal", Signal},
    {"eventfd.take", Entry<Take>},
};

}  // namespace

bool DefineEventfd(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "eventfd", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
