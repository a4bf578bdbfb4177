#include "detach.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <memory>

#include "fd.h"
#include "vhost_abi.h"

namespace vhost_net {

namespace {

constexpr Request kRequest = VHOST_NET_REQUEST(VHOST_NET_SET_BACKEND);

struct Detach {
  Environment* state;
  int fd;
  uint32_t queue;
  // A copy: the number `fd` may be closed, and given to another file, before the pool comes to it.
  Fd device;
  int error = 0;
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
};

void Execute(napi_env, void* data) {
  auto* detach = static_cast<Detach*>(data);
  vhost_vring_file file = {};
  file.index = detach->queue;
  file.fd = VHOST_FILE_UNBIND;
  if (ioctl(detach->device.Get(), kRequest.number, &file) == -1) detach->error = errno;
  // Here, on the pool: should this be the last copy, its close waits for the kernel too.
  detach->device.Reset();
}

void Settle(napi_env env, Detach* detach) {
  napi_value value = nullptr;
  // Fails while the environment ends: then there is nobody to tell.
  if (detach->error == 0) {
    napi_get_undefined(env, &value);
    napi_resolve_deferred(env, detach->deferred, value);
    return;
  }
  value = RefusalError(env, detach->error, {"ioctl", kRequest.name, detach->queue});
  if (value != nullptr) napi_reject_deferred(env, detach->deferred, value);
}

void Complete(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<Detach> detach(static_cast<Detach*>(data));
  if (status == napi_cancelled) detach->error = ECANCELED;
  Settle(env, detach.get());
  napi_delete_async_work(env, detach->work);
  detach->device.Reset();
  // Last: an environment that waited for this may go now.
  detach->state->WorkDone(detach->fd);
}

}  // namespace

napi_value StartDetach(Call& call, int fd, uint32_t queue) {
  const napi_env env = call.Env();
  auto detach = std::make_unique<Detach>();
  detach->state = &call.State();
  detach->fd = fd;
  detach->queue = queue;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &detach->deferred, &promise) != napi_ok) return nullptr;
  detach->device.Reset(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!detach->device.Valid()) {
    detach->error = errno;
    Settle(env, detach.get());
    return promise;
  }
  napi_value name = nullptr;
  if (napi_create_string_utf8(env, "VHOSTNETDETACH", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, nullptr, name, Execute, Complete, detach.get(), &detach->work) !=
          napi_ok)
    return nullptr;
  if (napi_queue_async_work(env, detach->work) != napi_ok) {
    napi_delete_async_work(env, detach->work);
    return nullptr;
  }
  detach->state->WorkStarted(fd);
  detach.release();
  return promise;
}

}  // namespace vhost_net
