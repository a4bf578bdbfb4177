#ifndef VHOST_NET_NATIVE_EVENTFD_H_
#define VHOST_NET_NATIVE_EVENTFD_H_

#include <cstdint>

namespace vhost_net {

// Reads the counter of an eventfd without waiting, whatever the flags of its file are: whoever
// shares it can make it blocking at any time, and read first. The bytes read, or -1 with errno.
int64_t TakeCount(int fd, uint64_t* count);

// Adds 1 to eventfds as the kernel's own devices do, by eventfd_signal(): a counter that is full
// stays so, and nothing waits, whatever those do who share the file. write(2) would: between any
// look at the file and the write, they can fill the counter and make the file blocking.
class Signaller {
 public:
  Signaller() = default;
  Signaller(const Signaller&) = delete;
  Signaller& operator=(const Signaller&) = delete;
  ~Signaller();

  // 0 or an errno.
  int Signal(int fd);

 private:
  int Submit(int fd);
  int Write(int fd);

  enum class State { kNew, kReady, kRefused };
  State state_ = State::kNew;
  uint64_t context_ = 0;
};

}  // namespace vhost_net

#endif
