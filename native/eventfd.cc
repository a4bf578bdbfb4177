#include "eventfd.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <cmath>
#include <iterator>

#include "call.h"
#include "surfaces.h"

namespace vhost_net {

int64_t TakeCount(int fd, uint64_t* count) {
  const iovec target = {count, sizeof(*count)};
  return UninterruptedBySignals([&] { return preadv2(fd, &target, 1, -1, RWF_NOWAIT); });
}

Signaller::~Signaller() {
  if (state_ == State::kReady) syscall(SYS_io_destroy, context_);
}

int Signaller::Signal(int fd) {
  if (state_ == State::kNew)
    state_ = syscall(SYS_io_setup, 1, &context_) == 0 ? State::kReady : State::kRefused;
  return state_ == State::kReady ? Submit(fd) : Write(fd);
}

// The end of an asynchronous request signals the eventfd that is named in it (IOCB_FLAG_RESFD). The
// request is a read of nothing, which eventfd_read() refuses at once and without a look at the
// counter.
int Signaller::Submit(int fd) {
  iocb request = {};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<uint32_t>(fd);
  request.aio_flags = IOCB_FLAG_RESFD;
  request.aio_resfd = static_cast<uint32_t>(fd);
  iocb* requests[] = {&request};
  while (syscall(SYS_io_submit, context_, 1, requests) != 1) {
    if (errno != EAGAIN) return errno;
    // The ring is full of requests that ended.
    io_event ended[64];
    timespec none = {};
    if (syscall(SYS_io_getevents, context_, 0, std::size(ended), ended, &none) <= 0) return EAGAIN;
  }
  return 0;
}

// Where the kernel has no room for asynchronous requests, or forbids them. A counter that is full
// is as good as signalled: its reader is awake. Nothing but a peer that means it can make this
// wait.
int Signaller::Write(int fd) {
  pollfd file = {fd, POLLOUT, 0};
  if (poll(&file, 1, 0) == 0) return 0;
  constexpr uint64_t kOne = 1;
  const auto attempt = [&] { return write(fd, &kOne, sizeof(kOne)); };
  return UninterruptedBySignals(attempt) != -1 || errno == EAGAIN ? 0 : errno;
}

namespace {

// eventfd(2) with EFD_NONBLOCK | EFD_CLOEXEC.
napi_value Create(Call& call) {
  Fd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.Valid()) return call.Refuse(errno, {"eventfd"});
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// The kick of every vring: hence without the reader of the other methods on the way that works.
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
  const int error = Environment::Of(env)->Signals().Signal(fd);
  return error == 0 ? nullptr : ThrowRefusal(env, error, {"io_submit"});
}

// preadv2(2) of the counter.
napi_value Take(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  uint64_t count = 0;
  const int64_t size = TakeCount(fd, &count);
  if (size == -1 && errno != EAGAIN) return call.Refuse(errno, {"preadv2"});
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
