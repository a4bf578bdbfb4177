#ifndef VHOST_NET_NATIVE_FD_H_
#define VHOST_NET_NATIVE_FD_H_

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vhost_net {

// A descriptor that is closed when its holder goes.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { Reset(); }

  int Get() const { return fd_; }
  bool Valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    if (fd_ >= 0) {
      // A destructor on the way out of a failure must not replace the failure's errno.
      const int saved = errno;
      close(fd_);
      errno = saved;
    }
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

// A call that a signal may cut short before it did anything.
template <typename Attempt>
auto UninterruptedBySignals(Attempt attempt) {
  auto result = attempt();
  while (result == -1 && errno == EINTR) result = attempt();
  return result;
}

}  // namespace vhost_net

#endif
