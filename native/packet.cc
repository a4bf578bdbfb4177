#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>
#include <string>

#include "call.h"
#include "linux_abi.h"
#include "network_namespace.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// The header that PACKET_VNET_HDR alone knows: struct virtio_net_hdr.
constexpr int kPlainHeaderSize = 10;

struct Option {
  int number;
  const char* name;
};
#define VHOST_NET_OPTION(constant) \
  Option { constant, #constant }

bool SetOption(const Call& call, int fd, Option option, const void* value, socklen_t size) {
  if (setsockopt(fd, SOL_PACKET, option.number, value, size) != -1) return true;
  call.Refuse(errno, {"setsockopt", option.name});
  return false;
}

napi_value SetInt(Call& call, const char* name, Option option) {
  int fd = -1;
  int value = 0;
  if (call.Descriptor(0, "fd", &fd) && call.Int32(1, name, &value))
    SetOption(call, fd, option, &value, sizeof(value));
  return nullptr;
}

bool GetInt(const Call& call, int fd, int level, Option option, int* value) {
  socklen_t size = sizeof(*value);
  if (getsockopt(fd, level, option.number, value, &size) != -1) return true;
  call.Refuse(errno, {"getsockopt", option.name});
  return false;
}

// socket(2) AF_PACKET, SOCK_RAW. Protocol 0 receives nothing before bind(2) names one.
napi_value Open(Call& call) {
  std::string netns;
  if (!call.OptionalString(0, "netns", &netns)) return nullptr;
  const auto make = [] { return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); };
  Fd fd = MakeInNetworkNamespace(call, netns, make, {"socket"});
  if (!fd.Valid()) return nullptr;
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kOther));
}

// PACKET_VNET_HDR_SZ; a kernel before 6.4 has only PACKET_VNET_HDR, on or off.
napi_value SetVnetHdrSz(Call& call) {
  int fd = -1;
  int bytes = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Int32(1, "bytes", &bytes)) return nullptr;
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR_SZ, &bytes, sizeof(bytes)) != -1) return nullptr;
  if (errno != ENOPROTOOPT || (bytes != 0 && bytes != kPlainHeaderSize))
    return call.Refuse(errno, {"setsockopt", "PACKET_VNET_HDR_SZ"});
  const int on = bytes != 0;
  SetOption(call, fd, VHOST_NET_OPTION(PACKET_VNET_HDR), &on, sizeof(on));
  return nullptr;
}

napi_value GetVnetHdrSz(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  int value = 0;
  socklen_t size = sizeof(value);
  if (getsockopt(fd, SOL_PACKET, PACKET_VNET_HDR_SZ, &value, &size) != -1)
    return call.Number(value);
  if (errno != ENOPROTOOPT) return call.Refuse(errno, {"getsockopt", "PACKET_VNET_HDR_SZ"});
  if (!GetInt(call, fd, SOL_PACKET, VHOST_NET_OPTION(PACKET_VNET_HDR), &value)) return nullptr;
  return call.Number(value != 0 ? kPlainHeaderSize : 0);
}

napi_value SetQdiscBypass(Call& call) {
  return SetInt(call, "value", VHOST_NET_OPTION(PACKET_QDISC_BYPASS));
}

// PACKET_ADD_MEMBERSHIP with PACKET_MR_PROMISC: gone with the socket.
napi_value AddPromiscuous(Call& call) {
  int fd = -1;
  packet_mreq membership = {};
  if (!call.Descriptor(0, "fd", &fd) || !call.Int32(1, "interfaceIndex", &membership.mr_ifindex))
    return nullptr;
  membership.mr_type = PACKET_MR_PROMISC;
  SetOption(call, fd, VHOST_NET_OPTION(PACKET_ADD_MEMBERSHIP), &membership, sizeof(membership));
  return nullptr;
}

napi_value SetIgnoreOutgoing(Call& call) {
  return SetInt(call, "value", VHOST_NET_OPTION(PACKET_IGNORE_OUTGOING));
}

// bind(2) with a struct sockaddr_ll.
napi_value Bind(Call& call) {
  int fd = -1;
  sockaddr_ll address = {};
  uint16_t protocol = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Int32(1, "interfaceIndex", &address.sll_ifindex) ||
      !call.Uint16(2, "protocol", &protocol))
    return nullptr;
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == -1)
    return call.Refuse(errno, {"bind"});
  return nullptr;
}

// What a socket is; index and protocol are those of a packet socket, 0 of any other.
napi_value Describe(Call& call) {
  int fd = -1;
  int domain = 0;
  int type = 0;
  if (!call.Descriptor(0, "fd", &fd) ||
      !GetInt(call, fd, SOL_SOCKET, VHOST_NET_OPTION(SO_DOMAIN), &domain) ||
      !GetInt(call, fd, SOL_SOCKET, VHOST_NET_OPTION(SO_TYPE), &type))
    return nullptr;
  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) == -1)
    return call.Refuse(errno, {"getsockname"});
  const auto* address = reinterpret_cast<const sockaddr_ll*>(&storage);
  const bool packet = domain == AF_PACKET;
  const Napi::Env env = call.Env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("domain", Napi::Number::New(env, domain));
  result.Set("type", Napi::Number::New(env, type));
  result.Set("interfaceIndex", Napi::Number::New(env, packet ? address->sll_ifindex : 0));
  result.Set("protocol", Napi::Number::New(env, packet ? ntohs(address->sll_protocol) : 0));
  return result;
}

constexpr Method kMethods[] = {
    {"packet.open", Entry<Open>},
    {"packet.setVnetHdrSz", Entry<SetVnetHdrSz>},
    {"packet.getVnetHdrSz", Entry<GetVnetHdrSz>},
    {"packet.setQdiscBypass", Entry<SetQdiscBypass>},
    {"packet.addPromiscuous", Entry<AddPromiscuous>},
    {"packet.setIgnoreOutgoing", Entry<SetIgnoreOutgoing>},
    {"packet.bind", Entry<Bind>},
    {"packet.describe", Entry<Describe>},
};

}  // namespace

bool DefinePacket(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "packet", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
