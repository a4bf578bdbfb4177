#include "interface_request.h"

#include <cstring>
#include <string>

namespace vhost_net {

bool SetInterfaceName(const Call& call, size_t index, const char* name, ifreq* request) {
  std::string text;
  if (!call.String(index, name, &text)) return false;
  if (text.size() >= IFNAMSIZ) {
    call.WrongValue(call[index], name, "an interface name of at most 15 bytes");
    return false;
  }
  std::memcpy(request->ifr_name, text.c_str(), text.size() + 1);
  return true;
}

napi_value InterfaceName(const Call& call, const ifreq& request) {
  napi_value result = nullptr;
  napi_create_string_utf8(call.Env(), request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ),
                          &result);
  return result;
}

}  // namespace vhost_net
