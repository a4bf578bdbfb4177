#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <cstring>
#include <iterator>
#include <string>

#include "call.h"
#include "interface_request.h"
#include "network_namespace.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

constexpr size_t kHardwareAddressSize = 6;

// socket(2): any socket answers SIOC* requests, for the namespace that it was made in.
napi_value Open(Call& call) {
  std::string netns;
  if (!call.OptionalString(0, "netns", &netns)) return nullptr;
  const auto make = [] { return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); };
  Fd fd = MakeInNetworkNamespace(call, netns, make, {"socket"});
  if (!fd.Valid()) return nullptr;
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// socket(2): a netlink socket of the group that is told of every link made, changed or removed.
napi_value Watch(Call& call) {
  std::string netns;
  if (!call.OptionalString(0, "netns", &netns)) return nullptr;
  const auto make = []() -> int {
    Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    if (!fd.Valid()) return -1;
    // Whoever only wants to know that something happened loses nothing by an overrun.
    const int quiet = 1;
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    if (setsockopt(fd.Get(), SOL_NETLINK, NETLINK_NO_ENOBUFS, &quiet, sizeof quiet) == -1 ||
        bind(fd.Get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == -1)
      return -1;
    return fd.Release();
  };
  Fd fd = MakeInNetworkNamespace(call, netns, make, {"socket", "NETLINK_ROUTE"});
  if (!fd.Valid()) return nullptr;
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// The arguments that most methods begin with.
bool Named(const Call& call, int* fd, ifreq* request) {
  return call.Descriptor(0, "fd", fd) && SetInterfaceName(call, 1, "name", request);
}

// A request that reads what stands under a name.
bool Get(const Call& call, Request number, ifreq* request) {
  int fd = -1;
  return Named(call, &fd, request) && call.Ioctl(fd, number, request);
}

napi_value GetIndex(Call& call) {
  ifreq request = {};
  if (!Get(call, VHOST_NET_REQUEST(SIOCGIFINDEX), &request)) return nullptr;
  return call.Number(request.ifr_ifindex);
}

napi_value GetName(Call& call) {
  int fd = -1;
  ifreq request = {};
  if (!call.Descriptor(0, "fd", &fd) || !call.Int32(1, "index", &request.ifr_ifindex) ||
      !call.Ioctl(fd, VHOST_NET_REQUEST(SIOCGIFNAME), &request))
    return nullptr;
  return InterfaceName(call, request);
}

napi_value GetFlags(Call& call) {
  ifreq request = {};
  if (!Get(call, VHOST_NET_REQUEST(SIOCGIFFLAGS), &request)) return nullptr;
  return call.Number(static_cast<uint16_t>(request.ifr_flags));
}

napi_value SetFlags(Call& call) {
  int fd = -1;
  ifreq request = {};
  uint16_t flags = 0;
  if (!Named(call, &fd, &request) || !call.Uint16(2, "flags", &flags)) return nullptr;
  request.ifr_flags = static_cast<short>(flags);  // NOLINT(google-runtime-int)
  call.Ioctl(fd, VHOST_NET_REQUEST(SIOCSIFFLAGS), &request);
  return nullptr;
}

napi_value GetMtu(Call& call) {
  ifreq request = {};
  if (!Get(call, VHOST_NET_REQUEST(SIOCGIFMTU), &request)) return nullptr;
  return call.Number(request.ifr_mtu);
}

napi_value SetMtu(Call& call) {
  int fd = -1;
  ifreq request = {};
  if (Named(call, &fd, &request) && call.Int32(2, "mtu", &request.ifr_mtu))
    call.Ioctl(fd, VHOST_NET_REQUEST(SIOCSIFMTU), &request);
  return nullptr;
}

napi_value GetHardwareAddress(Call& call) {
  ifreq request = {};
  if (!Get(call, VHOST_NET_REQUEST(SIOCGIFHWADDR), &request)) return nullptr;
  auto result = Napi::Uint8Array::New(call.Env(), kHardwareAddressSize);
  if (result.IsEmpty()) return nullptr;
  std::memcpy(result.Data(), request.ifr_hwaddr.sa_data, kHardwareAddressSize);
  return result;
}

napi_value SetHardwareAddress(Call& call) {
  int fd = -1;
  ifreq request = {};
  Bytes address;
  if (!Named(call, &fd, &request) || !call.Uint8Array(2, "address", &address)) return nullptr;
  if (address.size != kHardwareAddressSize)
    return call.WrongValue(call[2], "address", "a Uint8Array of 6 bytes");
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, address.data, kHardwareAddressSize);
  call.Ioctl(fd, VHOST_NET_REQUEST(SIOCSIFHWADDR), &request);
  return nullptr;
}

constexpr Method kMethods[] = {
    {"netdev.open", Entry<Open>},
    {"netdev.watch", Entry<Watch>},
    {"netdev.getIndex", Entry<GetIndex>},
    {"netdev.getName", Entry<GetName>},
    {"netdev.getFlags", Entry<GetFlags>},
    {"netdev.setFlags", Entry<SetFlags>},
    {"netdev.getMtu", Entry<GetMtu>},
    {"netdev.setMtu", Entry<SetMtu>},
    {"netdev.getHardwareAddress", Entry<GetHardwareAddress>},
    {"netdev.setHardwareAddress", Entry<SetHardwareAddress>},
};

}  // namespace

bool DefineNetdev(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "netdev", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
