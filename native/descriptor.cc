#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <iterator>

#include "call.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// close(2). EBADF for a descriptor of another environment, EBUSY while a pending detach uses the
// device.
napi_value Close(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  const int error = call.State().Close(fd);
  if (error != 0) call.Refuse(error, {"close"});
  return nullptr;
}

// fcntl(2) F_DUPFD_CLOEXEC, above the standard streams.
napi_value Duplicate(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy.Valid()) return call.Refuse(errno, {"fcntl"});
  Environment& state = call.State();
  return call.Number(state.Own(std::move(copy), state.KindOf(fd)));
}

// fstat(2).
napi_value Stat(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  struct stat status = {};
  if (fstat(fd, &status) == -1) return call.Refuse(errno, {"fstat"});
  const Napi::Env env = call.Env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("type", Napi::Number::New(env, status.st_mode & S_IFMT));
  result.Set("major", Napi::Number::New(env, major(status.st_rdev)));
  result.Set("minor", Napi::Number::New(env, minor(status.st_rdev)));
  return result;
}

// read(2).
napi_value Read(Call& call) {
  int fd = -1;
  Bytes buffer;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint8Array(1, "buffer", &buffer)) return nullptr;
  const ssize_t size = UninterruptedBySignals([&] { return read(fd, buffer.data, buffer.size); });
  if (size == -1) return call.Refuse(errno, {"read"});
  return call.Number(static_cast<double>(size));
}

// write(2).
napi_value Write(Call& call) {
  int fd = -1;
  Bytes buffer;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint8Array(1, "buffer", &buffer)) return nullptr;
  const ssize_t size = UninterruptedBySignals([&] { return write(fd, buffer.data, buffer.size); });
  if (size == -1) return call.Refuse(errno, {"write"});
  return call.Number(static_cast<double>(size));
}

constexpr Method kMethods[] = {
    {"descriptor.close", Entry<Close>}, {"descriptor.duplicate", Entry<Duplicate>},
    {"descriptor.stat", Entry<Stat>},   {"descriptor.read", Entry<Read>},
    {"descriptor.write", Entry<Write>},
};

}  // namespace

bool DefineDescriptor(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "descriptor", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
