#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "call.h"
#include "interface_request.h"
#include "network_namespace.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// open(2), O_RDWR | O_CLOEXEC | O_NONBLOCK. The namespace a tun descriptor belongs to is that of
// its open.
napi_value Open(Call& call) {
  std::string path;
  std::string netns;
  if (!call.String(0, "path", &path) || !call.OptionalString(1, "netns", &netns)) return nullptr;
  const auto make = [&path] {
    return UninterruptedBySignals(
        [&] { return open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK); });
  };
  Fd fd = MakeInNetworkNamespace(call, netns, make, {"open", nullptr, kNoQueue, path.c_str()});
  if (!fd.Valid()) return nullptr;
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// TUNGETFEATURES: unsigned int.
napi_value GetFeatures(Call& call) {
  int fd = -1;
  unsigned int features = 0;
  if (!call.Descriptor(0, "fd", &fd) ||
      !call.Ioctl(fd, VHOST_NET_REQUEST(TUNGETFEATURES), &features))
    return nullptr;
  return call.Number(features);
}

// TUNSETIFF: struct ifreq, whose name the kernel writes back.
napi_value SetIff(Call& call) {
  int fd = -1;
  ifreq request = {};
  uint16_t flags = 0;
  if (!call.Descriptor(0, "fd", &fd) || !SetInterfaceName(call, 1, "name", &request) ||
      !call.Uint16(2, "flags", &flags))
    return nullptr;
  request.ifr_flags = static_cast<short>(flags);  // NOLINT(google-runtime-int)
  if (!call.Ioctl(fd, VHOST_NET_REQUEST(TUNSETIFF), &request)) return nullptr;
  return InterfaceName(call, request);
}

// TUNGETIFF: struct ifreq.
napi_value GetIff(Call& call) {
  int fd = -1;
  ifreq request = {};
  if (!call.Descriptor(0, "fd", &fd) || !call.Ioctl(fd, VHOST_NET_REQUEST(TUNGETIFF), &request))
    return nullptr;
  Napi::Object result = Napi::Object::New(call.Env());
  result.Set("name", Napi::Value(call.Env(), InterfaceName(call, request)));
  result.Set("flags", Napi::Number::New(call.Env(), static_cast<uint16_t>(request.ifr_flags)));
  return result;
}

// Requests whose argument is a pointer to an int, and those that take the number itself.
napi_value SetInt(Call& call, const char* name, Request request) {
  int fd = -1;
  int value = 0;
  if (call.Descriptor(0, "fd", &fd) && call.Int32(1, name, &value)) call.Ioctl(fd, request, &value);
  return nullptr;
}

napi_value GetInt(Call& call, Request request) {
  int fd = -1;
  int value = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Ioctl(fd, request, &value)) return nullptr;
  return call.Number(value);
}

napi_value SetByValue(Call& call, const char* name, Request request) {
  int fd = -1;
  uint32_t value = 0;
  if (call.Descriptor(0, "fd", &fd) && call.Uint32(1, name, &value))
    call.IoctlByValue(fd, request, value);
  return nullptr;
}

napi_value SetOffload(Call& call) {
  return SetByValue(call, "offload", VHOST_NET_REQUEST(TUNSETOFFLOAD));
}

napi_value SetVnetHdrSz(Call& call) {
  return SetInt(call, "bytes", VHOST_NET_REQUEST(TUNSETVNETHDRSZ));
}

napi_value GetVnetHdrSz(Call& call) { return GetInt(call, VHOST_NET_REQUEST(TUNGETVNETHDRSZ)); }

napi_value SetVnetLe(Call& call) { return SetInt(call, "value", VHOST_NET_REQUEST(TUNSETVNETLE)); }

napi_value SetPersist(Call& call) {
  return SetByValue(call, "value", VHOST_NET_REQUEST(TUNSETPERSIST));
}

napi_value SetOwner(Call& call) { return SetByValue(call, "uid", VHOST_NET_REQUEST(TUNSETOWNER)); }

napi_value SetGroup(Call& call) { return SetByValue(call, "gid", VHOST_NET_REQUEST(TUNSETGROUP)); }

napi_value SetSndBuf(Call& call) { return SetInt(call, "bytes", VHOST_NET_REQUEST(TUNSETSNDBUF)); }

napi_value GetSndBuf(Call& call) { return GetInt(call, VHOST_NET_REQUEST(TUNGETSNDBUF)); }

// TUNSETQUEUE: struct ifreq, of which only the flags are read.
napi_value SetQueue(Call& call) {
  int fd = -1;
  uint16_t flags = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint16(1, "flags", &flags)) return nullptr;
  ifreq request = {};
  request.ifr_flags = static_cast<short>(flags);  // NOLINT(google-runtime-int)
  call.Ioctl(fd, VHOST_NET_REQUEST(TUNSETQUEUE), &request);
  return nullptr;
}

napi_value SetCarrier(Call& call) {
  return SetInt(call, "value", VHOST_NET_REQUEST(TUNSETCARRIER));
}

// TUNGETDEVNETNS, which returns a descriptor that is close-on-exec.
napi_value GetDevNetns(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  const Request request = VHOST_NET_REQUEST(TUNGETDEVNETNS);
  Fd netns(ioctl(fd, request.number));
  if (!netns.Valid()) return call.Refuse(errno, {"ioctl", request.name});
  return call.Number(call.State().Own(std::move(netns), Environment::Kind::kOther));
}

constexpr Method kMethods[] = {
    {"tun.open", Entry<Open>},
    {"tun.getFeatures", Entry<GetFeatures>},
    {"tun.setIff", Entry<SetIff>},
    {"tun.getIff", Entry<GetIff>},
    {"tun.setOffload", Entry<SetOffload>},
    {"tun.setVnetHdrSz", Entry<SetVnetHdrSz>},
    {"tun.getVnetHdrSz", Entry<GetVnetHdrSz>},
    {"tun.setVnetLe", Entry<SetVnetLe>},
    {"tun.setPersist", Entry<SetPersist>},
    {"tun.setOwner", Entry<SetOwner>},
    {"tun.setGroup", Entry<SetGroup>},
    {"tun.setSndBuf", Entry<SetSndBuf>},
    {"tun.getSndBuf", Entry<GetSndBuf>},
    {"tun.setQueue", Entry<SetQueue>},
    {"tun.setCarrier", Entry<SetCarrier>},
    {"tun.getDevNetns", Entry<GetDevNetns>},
};

}  // namespace

bool DefineTun(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "tun", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
