// libFuzzer's way into native/control_message.h: any bytes as the control message of a recvmsg(2).
#include "control_message.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As long as the input, so that the sanitizer sees the first byte beyond; operator new aligns as
  // a cmsghdr must be.
  const std::unique_ptr<char[]> control(new char[size]);
  std::memcpy(control.get(), data, size);
  msghdr message = {};
  message.msg_control = control.get();
  message.msg_controllen = size;
  if (vhost_net::PassedDescriptors(&message).size() * sizeof(int) > size) std::abort();
  return 0;
}
