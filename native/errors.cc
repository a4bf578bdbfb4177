#include "errors.h"

#include <uv.h>

#include <cerrno>

namespace vhost_net {

namespace {

struct KernelError {
  int number;
  const char* name;
  const char* description;
};

// Those that vhost, tun and packet sockets answer with and that libuv has no name for, or another
// one than the kernel: it calls 95 ENOTSUP, and of sockets only.
constexpr KernelError kKernelErrors[] = {
    {EOPNOTSUPP, "EOPNOTSUPP", "operation not supported"},
    {EBADFD, "EBADFD", "descriptor in bad state"},
    {EPFNOSUPPORT, "EPFNOSUPPORT", "protocol family not supported"},
    {ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT", "socket type not supported"},
    {ENOTUNIQ, "ENOTUNIQ", "name not unique on network"},
    {EUSERS, "EUSERS", "too many users"},
    {ENODATA, "ENODATA", "no data available"},
};

void NameError(int error, std::string* name, std::string* description) {
  for (const KernelError& known : kKernelErrors) {
    if (known.number != error) continue;
    *name = known.name;
    *description = known.description;
    return;
  }
  char text[128];
  *name = uv_err_name_r(-error, text, sizeof(text));
  *description = uv_strerror_r(-error, text, sizeof(text));
}

napi_value String(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

void Set(napi_env env, napi_value error, const char* property, napi_value value) {
  if (value != nullptr) napi_set_named_property(env, error, property, value);
}

void SetNumber(napi_env env, napi_value error, const char* property, int64_t number) {
  napi_value value = nullptr;
  napi_create_int64(env, number, &value);
  Set(env, error, property, value);
}

}  // namespace

napi_value RefusalError(napi_env env, int error, const Refusal& refusal) {
  std::string name;
  std::string description;
  NameError(error, &name, &description);
  std::string message = name + ": " + description + ", " + refusal.syscall;
  if (refusal.request != nullptr) message += std::string(" ") + refusal.request;
  if (refusal.path != nullptr) message += std::string(" '") + refusal.path + "'";

  napi_value result = nullptr;
  if (napi_create_error(env, nullptr, String(env, message), &result) != napi_ok) return nullptr;
  SetNumber(env, result, "errno", -error);
  Set(env, result, "code", String(env, name));
  Set(env, result, "syscall", String(env, refusal.syscall));
  if (refusal.request != nullptr) Set(env, result, "request", String(env, refusal.request));
  if (refusal.queue != kNoQueue) SetNumber(env, result, "queue", refusal.queue);
  if (refusal.path != nullptr) Set(env, result, "path", String(env, refusal.path));
  return result;
}

napi_value ThrowRefusal(napi_env env, int error, const Refusal& refusal) {
  napi_value value = RefusalError(env, error, refusal);
  if (value != nullptr) napi_throw(env, value);
  return nullptr;
}

void ThrowInvalidArgument(napi_env env, const std::string& message) {
  napi_throw_type_error(env, "ERR_VHOST_INVALID_ARGUMENT", message.c_str());
}

void ThrowOutOfRange(napi_env env, const std::string& message) {
  napi_throw_range_error(env, "ERR_VHOST_OUT_OF_RANGE", message.c_str());
}

void ThrowUnsupported(napi_env env, const std::string& message) {
  napi_throw_error(env, "ERR_VHOST_UNSUPPORTED", message.c_str());
}

}  // namespace vhost_net
