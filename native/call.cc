#include "call.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace vhost_net {

namespace {

constexpr double kMaximumSafeInteger = 9007199254740991.0;

const char* TypeName(napi_valuetype type) {
  switch (type) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return "a boolean";
    case napi_number:
      return "a number";
    case napi_string:
      return "a string";
    case napi_symbol:
      return "a symbol";
    case napi_object:
      return "an object";
    case napi_function:
      return "a function";
    case napi_external:
      return "an external value";
    case napi_bigint:
      return "a bigint";
  }
  return "an unknown value";
}

napi_valuetype TypeOf(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type;
}

}  // namespace

bool DefineGroup(napi_env env, napi_value exports, const char* group, const Method* methods,
                 size_t count) {
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok) return false;
  for (size_t i = 0; i < count; ++i) {
    const char* name = std::strchr(methods[i].name, '.') + 1;
    napi_value function = nullptr;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, methods[i].callback,
                             const_cast<Method*>(&methods[i]), &function) != napi_ok ||
        napi_set_named_property(env, object, name, function) != napi_ok)
      return false;
  }
  return napi_set_named_property(env, exports, group, object) == napi_ok;
}

Call::Call(napi_env env, napi_callback_info info) : env_(env) {
  size_t count = kMaximumArguments;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments_, nullptr, &data);
  method_ = static_cast<const Method*>(data)->name;
}

std::string Call::Complaint(napi_value value, const ArgumentName& name, const char* rule) const {
  std::string text = std::string(method_) + ": " + name.text;
  if (name.element >= 0) text += "[" + std::to_string(name.element) + "]";
  if (name.property != nullptr) text += std::string(".") + name.property;
  text += std::string(" must be ") + rule + "; received ";
  double number = 0;
  if (napi_get_value_double(env_, value, &number) == napi_ok) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.17g", number);
    return text + digits;
  }
  return text + TypeName(TypeOf(env_, value));
}

napi_value Call::WrongType(napi_value value, const ArgumentName& name, const char* rule) const {
  ThrowInvalidArgument(env_, Complaint(value, name, rule));
  return nullptr;
}

napi_value Call::WrongValue(napi_value value, const ArgumentName& name, const char* rule) const {
  ThrowOutOfRange(env_, Complaint(value, name, rule));
  return nullptr;
}

bool Call::Integer(napi_value value, const ArgumentName& name, double low, double high,
                   double* out) const {
  if (napi_get_value_double(env_, value, out) != napi_ok) {
    WrongType(value, name, "a number");
    return false;
  }
  if (std::trunc(*out) == *out && *out >= low && *out <= high) return true;
  char rule[96];
  std::snprintf(rule, sizeof(rule), "a whole number from %.0f to %.0f", low, high);
  WrongValue(value, name, rule);
  return false;
}

bool Call::Descriptor(napi_value value, const ArgumentName& name, int* out) const {
  double number = 0;
  if (!Integer(value, name, 0, INT_MAX, &number)) return false;
  *out = static_cast<int>(number);
  return true;
}

bool Call::Descriptor(size_t index, const char* name, int* out) const {
  return Descriptor(arguments_[index], name, out);
}

bool Call::DescriptorOrNone(size_t index, const char* name, int* out) const {
  double number = 0;
  if (!Integer(arguments_[index], name, -1, INT_MAX, &number)) return false;
  *out = static_cast<int>(number);
  return true;
}

bool Call::Uint32(napi_value value, const ArgumentName& name, uint32_t* out) const {
  double number = 0;
  if (!Integer(value, name, 0, UINT32_MAX, &number)) return false;
  *out = static_cast<uint32_t>(number);
  return true;
}

bool Call::Uint32(size_t index, const char* name, uint32_t* out) const {
  return Uint32(arguments_[index], name, out);
}

bool Call::Uint16(size_t index, const char* name, uint16_t* out) const {
  double number = 0;
  if (!Integer(arguments_[index], name, 0, UINT16_MAX, &number)) return false;
  *out = static_cast<uint16_t>(number);
  return true;
}

bool Call::Uint8(size_t index, const char* name, uint8_t* out) const {
  double number = 0;
  if (!Integer(arguments_[index], name, 0, UINT8_MAX, &number)) return false;
  *out = static_cast<uint8_t>(number);
  return true;
}

bool Call::Int32(size_t index, const char* name, int* out) const {
  double number = 0;
  if (!Integer(arguments_[index], name, INT_MIN, INT_MAX, &number)) return false;
  *out = static_cast<int>(number);
  return true;
}

bool Call::Size(size_t index, const char* name, uint64_t* out) const {
  double number = 0;
  if (!Integer(arguments_[index], name, 0, kMaximumSafeInteger, &number)) return false;
  *out = static_cast<uint64_t>(number);
  return true;
}

bool Call::Uint64(napi_value value, const ArgumentName& name, uint64_t* out) const {
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env_, value, out, &lossless) != napi_ok) {
    WrongType(value, name, "a bigint");
    return false;
  }
  if (!lossless) WrongValue(value, name, "a bigint from 0 to 2^64 - 1");
  return lossless;
}

bool Call::Uint64(size_t index, const char* name, uint64_t* out) const {
  return Uint64(arguments_[index], name, out);
}

bool Call::String(size_t index, const char* name, std::string* out) const {
  const napi_value value = arguments_[index];
  size_t length = 0;
  if (napi_get_value_string_utf8(env_, value, nullptr, 0, &length) != napi_ok) {
    WrongType(value, name, "a string");
    return false;
  }
  std::string text(length, '\0');
  // N-API writes the terminator too, into the one place past the end that std::string keeps for it.
  if (napi_get_value_string_utf8(env_, value, &text[0], length + 1, &length) != napi_ok)
    return false;
  if (text.find('\0') != std::string::npos) {
    WrongValue(value, name, "a string without null characters");
    return false;
  }
  *out = std::move(text);
  return true;
}

bool Call::OptionalString(size_t index, const char* name, std::string* out) const {
  const napi_valuetype type = TypeOf(env_, arguments_[index]);
  if (type == napi_undefined) {
    out->clear();
    return true;
  }
  if (type != napi_string) {
    WrongType(arguments_[index], name, "a string or undefined");
    return false;
  }
  if (!String(index, name, out)) return false;
  if (out->empty()) WrongValue(arguments_[index], name, "a string that is not empty");
  return !out->empty();
}

bool Call::Uint8Array(size_t index, const char* name, Bytes* out) const {
  const napi_value value = arguments_[index];
  bool is_typed_array = false;
  napi_is_typedarray(env_, value, &is_typed_array);
  napi_typedarray_type type = napi_int8_array;
  if (is_typed_array)
    napi_get_typedarray_info(env_, value, &type, &out->size, &out->data, nullptr, nullptr);
  if (is_typed_array && type == napi_uint8_array) return true;
  WrongType(value, name, "a Uint8Array");
  return false;
}

bool Call::Function(size_t index, const char* name) const {
  if (TypeOf(env_, arguments_[index]) == napi_function) return true;
  WrongType(arguments_[index], name, "a function");
  return false;
}

bool Call::Object(napi_value value, const ArgumentName& name) const {
  if (TypeOf(env_, value) == napi_object) return true;
  WrongType(value, name, "an object");
  return false;
}

bool Call::Elements(size_t index, const char* name, uint32_t maximum,
                    std::vector<napi_value>* out) const {
  const napi_value array = arguments_[index];
  bool is_array = false;
  napi_is_array(env_, array, &is_array);
  if (!is_array) {
    WrongType(array, name, "an array");
    return false;
  }
  uint32_t length = 0;
  if (napi_get_array_length(env_, array, &length) != napi_ok) return false;
  if (length > maximum) {
    char rule[48];
    std::snprintf(rule, sizeof(rule), "an array of at most %u elements", maximum);
    WrongValue(array, name, rule);
    return false;
  }
  out->resize(length);
  for (uint32_t i = 0; i < length; ++i)
    if (napi_get_element(env_, array, i, &(*out)[i]) != napi_ok) return false;
  return true;
}

bool Call::Property(napi_value object, const char* property, napi_value* out) const {
  return napi_get_named_property(env_, object, property, out) == napi_ok;
}

bool Call::Ioctl(int fd, Request request, void* argument, int64_t queue) const {
  if (ioctl(fd, request.number, argument) != -1) return true;
  Refuse(errno, {"ioctl", request.name, queue});
  return false;
}

bool Call::IoctlByValue(int fd, Request request, unsigned long argument) const {  // NOLINT
  if (ioctl(fd, request.number, argument) != -1) return true;
  Refuse(errno, {"ioctl", request.name});
  return false;
}

napi_value Call::Number(double value) const {
  napi_value result = nullptr;
  napi_create_double(env_, value, &result);
  return result;
}

napi_value Call::BigInt(uint64_t value) const {
  napi_value result = nullptr;
  napi_create_bigint_uint64(env_, value, &result);
  return result;
}

}  // namespace vhost_net
