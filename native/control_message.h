#ifndef VHOST_NET_NATIVE_CONTROL_MESSAGE_H_
#define VHOST_NET_NATIVE_CONTROL_MESSAGE_H_

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <vector>

namespace vhost_net {

// The descriptors that came with a message (SCM_RIGHTS); the caller's to close. Reads no byte
// beyond `msg_controllen`, whatever the lengths in the control message say.
inline std::vector<int> PassedDescriptors(msghdr* message) {
  std::vector<int> fds;
  const auto* end = static_cast<const char*>(message->msg_control) + message->msg_controllen;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    const auto room = static_cast<size_t>(end - reinterpret_cast<const char*>(part));
    if (part->cmsg_len < CMSG_LEN(0) || part->cmsg_len > room) break;
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.push_back(fd);
    }
  }
  return fds;
}

}  // namespace vhost_net

#endif
