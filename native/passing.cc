#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "call.h"
#include "control_message.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// SCM_MAX_FD of the kernel, which shows it to nobody: descriptors that one message carries at most.
constexpr size_t kMaximumDescriptors = 253;

Fd MakeSocket() { return Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

napi_value Own(const Call& call, Fd fd) {
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// A path in the file system: neither an abstract name nor one that the kernel would cut.
bool Path(const Call& call, size_t index, std::string* path, sockaddr_un* address) {
  if (!call.String(index, "path", path)) return false;
  if (path->empty() || path->size() >= sizeof(address->sun_path)) {
    call.WrongValue(call[index], "path", "a path of 1 to 107 bytes");
    return false;
  }
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path->c_str(), path->size() + 1);
  return true;
}

// socket(2), bind(2), listen(2). The mode is that of the socket before it has a name (bind(2) takes
// it over, less the umask), so that there is no moment at which more may connect than were meant.
napi_value Listen(Call& call) {
  std::string path;
  sockaddr_un address = {};
  uint32_t mode = 0;
  int backlog = 0;
  if (!Path(call, 0, &path, &address) || !call.Uint32(1, "mode", &mode) ||
      !call.Int32(2, "backlog", &backlog))
    return nullptr;
  if (mode > 0777) return call.WrongValue(call[1], "mode", "permission bits up to 0o777");
  Fd fd = MakeSocket();
  if (!fd.Valid()) return call.Refuse(errno, {"socket"});
  if (fchmod(fd.Get(), mode) == -1) return call.Refuse(errno, {"fchmod"});
  if (bind(fd.Get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == -1)
    return call.Refuse(errno, {"bind", nullptr, kNoQueue, path.c_str()});
  if (listen(fd.Get(), backlog) == -1) return call.Refuse(errno, {"listen"});
  return Own(call, std::move(fd));
}

// accept4(2).
napi_value Accept(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  Fd accepted(UninterruptedBySignals(
      [&] { return accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); }));
  if (!accepted.Valid()) return call.Refuse(errno, {"accept4"});
  return Own(call, std::move(accepted));
}

// socket(2), connect(2), which a unix socket answers at once.
napi_value Connect(Call& call) {
  std::string path;
  sockaddr_un address = {};
  if (!Path(call, 0, &path, &address)) return nullptr;
  Fd fd = MakeSocket();
  if (!fd.Valid()) return call.Refuse(errno, {"socket"});
  if (connect(fd.Get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == -1)
    return call.Refuse(errno, {"connect", nullptr, kNoQueue, path.c_str()});
  return Own(call, std::move(fd));
}

// socketpair(2).
napi_value Pair(Call& call) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == -1)
    return call.Refuse(errno, {"socketpair"});
  Fd first(ends[0]);
  Fd second(ends[1]);
  Napi::Array result = Napi::Array::New(call.Env(), 2);
  result.Set(0U, Own(call, std::move(first)));
  result.Set(1U, Own(call, std::move(second)));
  return result;
}

// Room for one SCM_RIGHTS message, aligned as a cmsghdr must be.
union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(kMaximumDescriptors * sizeof(int))];
};

// sendmsg(2) with MSG_NOSIGNAL.
napi_value Send(Call& call) {
  int fd = -1;
  Bytes bytes;
  std::vector<napi_value> elements;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint8Array(1, "bytes", &bytes) ||
      !call.Elements(2, "fds", kMaximumDescriptors, &elements))
    return nullptr;
  // A stream carries descriptors with a byte; without one the kernel would drop them in silence.
  if (bytes.size == 0) return call.WrongValue(call[1], "bytes", "a Uint8Array that is not empty");
  std::vector<int> fds(elements.size());
  for (size_t i = 0; i < elements.size(); ++i)
    if (!call.Descriptor(elements[i], {"fds", static_cast<int64_t>(i)}, &fds[i])) return nullptr;

  iovec vector = {bytes.data, bytes.size};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  Control control = {};
  if (!fds.empty()) {
    const size_t size = fds.size() * sizeof(int);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(&control.header), fds.data(), size);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(size);
  }
  const ssize_t sent = UninterruptedBySignals([&] { return sendmsg(fd, &message, MSG_NOSIGNAL); });
  if (sent == -1) return call.Refuse(errno, {"sendmsg"});
  return call.Number(static_cast<double>(sent));
}

// recvmsg(2) with MSG_CMSG_CLOEXEC.
napi_value Receive(Call& call) {
  int fd = -1;
  Bytes buffer;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint8Array(1, "buffer", &buffer)) return nullptr;
  // Nothing received into it could not be told from the end of the stream.
  if (buffer.size == 0) return call.WrongValue(call[1], "buffer", "a Uint8Array that is not empty");
  iovec vector = {buffer.data, buffer.size};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof(control);
  const ssize_t size =
      UninterruptedBySignals([&] { return recvmsg(fd, &message, MSG_CMSG_CLOEXEC); });
  if (size == -1) return call.Refuse(errno, {"recvmsg"});
  std::vector<Fd> passed;
  for (const int received : PassedDescriptors(&message)) passed.emplace_back(received);
  // There was room for all that a message can carry: what is missing found no place in the
  // process's table. The rest is closed here.
  if ((message.msg_flags & MSG_CTRUNC) != 0) return call.Refuse(EMFILE, {"recvmsg", "SCM_RIGHTS"});
  const Napi::Env env = call.Env();
  Napi::Array fds = Napi::Array::New(env, passed.size());
  for (size_t i = 0; i < passed.size(); ++i)
    fds.Set(static_cast<uint32_t>(i), Own(call, std::move(passed[i])));
  Napi::Object result = Napi::Object::New(env);
  result.Set("size", Napi::Number::New(env, static_cast<double>(size)));
  result.Set("fds", fds);
  return result;
}

// getsockopt(2) SO_PEERCRED.
napi_value PeerCredentials(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == -1)
    return call.Refuse(errno, {"getsockopt", "SO_PEERCRED"});
  const Napi::Env env = call.Env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", Napi::Number::New(env, credentials.pid));
  result.Set("uid", Napi::Number::New(env, credentials.uid));
  result.Set("gid", Napi::Number::New(env, credentials.gid));
  return result;
}

constexpr Method kMethods[] = {
    {"passing.listen", Entry<Listen>},
    {"passing.accept", Entry<Accept>},
    {"passing.connect", Entry<Connect>},
    {"passing.pair", Entry<Pair>},
    {"passing.send", Entry<Send>},
    {"passing.receive", Entry<Receive>},
    {"passing.peerCredentials", Entry<PeerCredentials>},
};

}  // namespace

bool DefinePassing(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "passing", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
