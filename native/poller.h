#ifndef VHOST_NET_NATIVE_POLLER_H_
#define VHOST_NET_NATIVE_POLLER_H_

#include <napi.h>
#include <uv.h>

#include <memory>

#include "environment.h"
#include "fd.h"

namespace vhost_net {

// A uv_poll on a private copy of a descriptor: libuv aborts when a descriptor under its watch was
// closed, and refuses two watches on one number; a copy knows neither. It lives as long as its
// JavaScript object or its uv handle, whichever goes last, so that collecting the object does not
// end the watch.
class Poller : public std::enable_shared_from_this<Poller> {
 public:
  enum class Kind { kEventfd, kReadable, kWritable };

  Poller(napi_env env, Environment* state, Kind kind) : env_(env), state_(state), kind_(kind) {}
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Starts to watch `fd`; false with an exception pending and nothing left behind.
  bool Open(int fd, napi_value callback);
  // Idempotent; also safe inside the callback.
  void Close();
  void Ref();
  void Unref();

 private:
  static void OnEvent(uv_poll_t* handle, int status, int events);
  static void OnClosed(uv_handle_t* handle);

  bool Start();
  void OnEventfd(bool failed);
  void CallBack(napi_value argument);
  // For what no callback can be told: becomes an uncaughtException, and the watch is silent from
  // then on.
  void Fail(int error);

  napi_env env_;
  Environment* state_;
  Kind kind_;
  bool open_ = false;
  Fd fd_;
  uv_poll_t handle_ = {};
  napi_ref callback_ = nullptr;
  napi_async_context context_ = nullptr;
  // Held from Open() until libuv has let go of the handle.
  std::shared_ptr<Poller> self_;
};

}  // namespace vhost_net

#endif
