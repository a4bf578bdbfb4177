#include "poller.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <iterator>

#include "call.h"
#include "errors.h"
#include "eventfd.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// Tells an object made here from any other that wraps something.
constexpr napi_type_tag kTag = {0x9c1f0c7e5b0a4d6eULL, 0xa3d2f6410e8b97c5ULL};

// Raises what a callback threw as Node does for its own callbacks.
void RaiseUncaught(napi_env env, napi_value error) {
  if (error != nullptr) napi_fatal_exception(env, error);
}

napi_value TakeException(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  napi_value error = nullptr;
  if (pending) napi_get_and_clear_last_exception(env, &error);
  return error;
}

}  // namespace

bool Poller::Open(int fd, napi_value callback) {
  fd_.Reset(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!fd_.Valid()) {
    ThrowRefusal(env_, errno, {"fcntl"});
    return false;
  }
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
  // Refuses what epoll cannot watch (EPERM for a regular file); nothing is to be closed then.
  const int status = uv_poll_init(loop, &handle_, fd_.Get());
  if (status != 0) {
    fd_.Reset();
    ThrowRefusal(env_, -status, {"epoll_ctl"});
    return false;
  }
  handle_.data = this;
  self_ = shared_from_this();
  open_ = true;
  state_->PollerOpened(this);

  napi_value name = nullptr;
  if (napi_create_string_utf8(env_, "VHOSTNETPOLLER", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_async_init(env_, nullptr, name, &context_) == napi_ok &&
      napi_create_reference(env_, callback, 1, &callback_) == napi_ok && Start())
    return true;
  Close();
  return false;
}

bool Poller::Start() {
  const int events = kind_ == Kind::kWritable ? UV_WRITABLE : UV_READABLE;
  return uv_poll_start(&handle_, events, OnEvent) == 0;
}

void Poller::Close() {
  if (!open_) return;
  open_ = false;
  state_->PollerClosing(this);
  if (callback_ != nullptr) napi_delete_reference(env_, std::exchange(callback_, nullptr));
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), OnClosed);
  // uv_close() stops the watch at once: libuv touches the descriptor no more.
  fd_.Reset();
}

void Poller::Ref() {
  if (open_) uv_ref(reinterpret_cast<uv_handle_t*>(&handle_));
}

void Poller::Unref() {
  if (open_) uv_unref(reinterpret_cast<uv_handle_t*>(&handle_));
}

void Poller::OnClosed(uv_handle_t* handle) {
  auto* poller = static_cast<Poller*>(handle->data);
  const std::shared_ptr<Poller> held = std::move(poller->self_);
  // Here and not in Close(), which may run inside a callback that this context surrounds.
  if (poller->context_ != nullptr) napi_async_destroy(poller->env_, poller->context_);
  poller->state_->PollerClosed();
}

void Poller::OnEvent(uv_poll_t* handle, int status, int) {
  const std::shared_ptr<Poller> held = static_cast<Poller*>(handle->data)->self_;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(held->env_, &scope) != napi_ok) return;
  if (held->kind_ == Kind::kEventfd) {
    held->OnEventfd(status != 0);
  } else {
    napi_value error = nullptr;
    if (napi_get_boolean(held->env_, status != 0, &error) == napi_ok) held->CallBack(error);
  }
  napi_close_handle_scope(held->env_, scope);
}

void Poller::OnEventfd(bool failed) {
  uint64_t count = 0;
  const int64_t size = TakeCount(fd_.Get(), &count);
  const int error = size == -1 ? errno : EINVAL;
  if (size != sizeof(count) && error != EAGAIN) {
    uv_poll_stop(&handle_);
    Fail(error);
    return;
  }
  // A counter at its very end is an error to poll(2), on which libuv stops; the read has mended it,
  // ours or that of whoever took the count before.
  if (failed) Start();
  napi_value number = nullptr;
  if (size != -1 && napi_create_double(env_, static_cast<double>(count), &number) == napi_ok)
    CallBack(number);
}

void Poller::CallBack(napi_value argument) {
  napi_value global = nullptr;
  napi_value callback = nullptr;
  if (napi_get_global(env_, &global) != napi_ok) return;
  if (napi_get_reference_value(env_, callback_, &callback) != napi_ok || callback == nullptr)
    return;
  // Fails while the environment ends: then there is nobody to tell.
  if (napi_make_callback(env_, context_, global, callback, 1, &argument, nullptr) != napi_ok)
    RaiseUncaught(env_, TakeException(env_));
}

void Poller::Fail(int error) { RaiseUncaught(env_, RefusalError(env_, error, {"preadv2"})); }

namespace {

std::shared_ptr<Poller>* Unwrap(napi_env env, napi_callback_info info) {
  napi_value self = nullptr;
  void* data = nullptr;
  size_t count = 0;
  bool tagged = false;
  void* wrapped = nullptr;
  napi_get_cb_info(env, info, &count, nullptr, &self, &data);
  if (napi_check_object_type_tag(env, self, &kTag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env, self, &wrapped) != napi_ok) {
    TakeException(env);
    ThrowInvalidArgument(env, std::string(static_cast<const char*>(data)) +
                                  ": this must be a Poller that `poller` made");
    return nullptr;
  }
  return static_cast<std::shared_ptr<Poller>*>(wrapped);
}

template <void (Poller::*kMethod)()>
napi_value OnPoller(napi_env env, napi_callback_info info) {
  std::shared_ptr<Poller>* poller = Unwrap(env, info);
  if (poller != nullptr) ((**poller).*kMethod)();
  return nullptr;
}

napi_property_descriptor PollerMethod(const char* name, const char* full_name,
                                      napi_callback callback) {
  napi_property_descriptor property = {};
  property.utf8name = name;
  property.method = callback;
  property.attributes = napi_enumerable;
  property.data = const_cast<char*>(full_name);
  return property;
}

napi_value Watch(Call& call, Poller::Kind kind) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd) || !call.Function(1, "callback")) return nullptr;
  const napi_env env = call.Env();

  const napi_property_descriptor methods[] = {
      PollerMethod("close", "Poller.close", OnPoller<&Poller::Close>),
      PollerMethod("ref", "Poller.ref", OnPoller<&Poller::Ref>),
      PollerMethod("unref", "Poller.unref", OnPoller<&Poller::Unref>),
  };
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok ||
      napi_define_properties(env, object, std::size(methods), methods) != napi_ok ||
      napi_type_tag_object(env, object, &kTag) != napi_ok)
    return nullptr;
  auto* holder = new std::shared_ptr<Poller>(std::make_shared<Poller>(env, &call.State(), kind));
  const auto let_go = [](napi_env, void* data, void*) {
    delete static_cast<std::shared_ptr<Poller>*>(data);
  };
  if (napi_wrap(env, object, holder, let_go, nullptr, nullptr) != napi_ok) {
    delete holder;
    return nullptr;
  }
  return (*holder)->Open(fd, call[1]) ? object : nullptr;
}

// uv_poll on an eventfd(2), read before each callback.
napi_value WatchEventfd(Call& call) { return Watch(call, Poller::Kind::kEventfd); }

// uv_poll for UV_READABLE. After an error libuv watches no longer.
napi_value WatchReadable(Call& call) { return Watch(call, Poller::Kind::kReadable); }

// uv_poll for UV_WRITABLE.
napi_value WatchWritable(Call& call) { return Watch(call, Poller::Kind::kWritable); }

constexpr Method kMethods[] = {
    {"poller.watchEventfd", Entry<WatchEventfd>},
    {"poller.watchReadable", Entry<WatchReadable>},
    {"poller.watchWritable", Entry<WatchWritable>},
};

}  // namespace

bool DefinePoller(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "poller", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
