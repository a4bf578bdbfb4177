#ifndef VHOST_NET_NATIVE_CALL_H_
#define VHOST_NET_NATIVE_CALL_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "environment.h"
#include "errors.h"

namespace vhost_net {

// One method on the exports: its full name ("vhost.setOwner"), told in errors, and what it runs.
struct Method {
  const char* name;
  napi_callback callback;
};

// Adds the object `group` with its methods to the exports; false with an exception pending.
bool DefineGroup(napi_env env, napi_value exports, const char* group, const Method* methods,
                 size_t count);

// An argument as an error names it: "fd", "regions[2].size", "addresses.flags".
struct ArgumentName {
  ArgumentName(const char* text) : text(text) {}  // NOLINT(google-explicit-constructor)
  ArgumentName(const char* text, const char* property) : text(text), property(property) {}
  ArgumentName(const char* text, int64_t element, const char* property = nullptr)
      : text(text), element(element), property(property) {}

  const char* text;
  int64_t element = -1;
  const char* property = nullptr;
};

// Bytes of a typed array. Good until JavaScript runs again.
struct Bytes {
  void* data = nullptr;
  size_t size = 0;
};

// An ioctl request with the name that the kernel's header gives it.
struct Request {
  unsigned long number;  // NOLINT(google-runtime-int): the type that ioctl(2) takes
  const char* name;
};
#define VHOST_NET_REQUEST(constant) \
  ::vhost_net::Request { constant, #constant }

// One call from JavaScript. Its readers return false with an exception pending, which the method
// leaves with `return nullptr`.
class Call {
 public:
  static constexpr size_t kMaximumArguments = 8;

  Call(napi_env env, napi_callback_info info);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Napi::Env Env() const { return env_; }
  const char* MethodName() const { return method_; }
  Environment& State() const { return *Environment::Of(env_); }
  napi_value operator[](size_t index) const { return arguments_[index]; }

  bool Descriptor(napi_value value, const ArgumentName& name, int* out) const;
  bool Descriptor(size_t index, const char* name, int* out) const;
  // -1 stands for none.
  bool DescriptorOrNone(size_t index, const char* name, int* out) const;
  bool Uint32(napi_value value, const ArgumentName& name, uint32_t* out) const;
  bool Uint32(size_t index, const char* name, uint32_t* out) const;
  bool Uint16(size_t index, const char* name, uint16_t* out) const;
  bool Uint8(size_t index, const char* name, uint8_t* out) const;
  bool Int32(size_t index, const char* name, int* out) const;
  // A whole number that a double holds exactly: a size or an offset in bytes.
  bool Size(size_t index, const char* name, uint64_t* out) const;
  bool Uint64(napi_value value, const ArgumentName& name, uint64_t* out) const;
  bool Uint64(size_t index, const char* name, uint64_t* out) const;
  bool String(size_t index, const char* name, std::string* out) const;
  // Leaves `out` empty for undefined.
  bool OptionalString(size_t index, const char* name, std::string* out) const;
  bool Uint8Array(size_t index, const char* name, Bytes* out) const;
  bool Function(size_t index, const char* name) const;
  bool Object(napi_value value, const ArgumentName& name) const;
  // The elements of an array, at most `maximum`.
  bool Elements(size_t index, const char* name, uint32_t maximum,
                std::vector<napi_value>* out) const;
  bool Property(napi_value object, const char* property, napi_value* out) const;

  // "method: argument must be RULE; received …"
  napi_value WrongType(napi_value value, const ArgumentName& name, const char* rule) const;
  napi_value WrongValue(napi_value value, const ArgumentName& name, const char* rule) const;

  // ioctl(2); throws the refusal.
  bool Ioctl(int fd, Request request, void* argument, int64_t queue = kNoQueue) const;
  bool IoctlByValue(int fd, Request request, unsigned long argument) const;  // NOLINT

  napi_value Refuse(int error, const Refusal& refusal) const {
    return ThrowRefusal(env_, error, refusal);
  }
  napi_value Number(double value) const;
  napi_value BigInt(uint64_t value) const;

 private:
  bool Integer(napi_value value, const ArgumentName& name, double low, double high,
               double* out) const;
  std::string Complaint(napi_value value, const ArgumentName& name, const char* rule) const;

  Napi::Env env_;
  const char* method_ = "";
  napi_value arguments_[kMaximumArguments] = {};
};

template <napi_value (*kBody)(Call&)>
napi_value Entry(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return kBody(call);
}

}  // namespace vhost_net

#endif
