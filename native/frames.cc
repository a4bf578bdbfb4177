#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>

#include "call.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// 2^53: up to here a double holds every whole number.
constexpr double kMaximumNumber = 9007199254740992.0;

// Elements of a typed array. Good until JavaScript runs again.
template <typename T>
struct Elements {
  T* data = nullptr;
  size_t count = 0;
};

template <typename T>
constexpr napi_typedarray_type TypeOf();
template <>
constexpr napi_typedarray_type TypeOf<double>() {
  return napi_float64_array;
}
template <>
constexpr napi_typedarray_type TypeOf<uint32_t>() {
  return napi_uint32_array;
}
template <>
constexpr napi_typedarray_type TypeOf<int32_t>() {
  return napi_int32_array;
}

template <typename T>
bool Array(const Call& call, size_t index, const char* name, const char* rule, Elements<T>* out) {
  void* data = nullptr;
  napi_typedarray_type type = napi_int8_array;
  if (napi_get_typedarray_info(call.Env(), call[index], &type, &out->count, &data, nullptr,
                               nullptr) != napi_ok ||
      type != TypeOf<T>()) {
    call.WrongType(call[index], name, rule);
    return false;
  }
  out->data = static_cast<T*>(data);
  return true;
}

// Chains of pieces of memory; each piece is two numbers, its user address and its bytes.
class Chains {
 public:
  bool Read(const Call& call) {
    if (!call.Descriptor(0, "fd", &fd_) || !Array(call, 1, "pieces", "a Float64Array", &pieces_) ||
        !Array(call, 2, "ends", "a Uint32Array", &ends_) ||
        !Array(call, 3, "results", "an Int32Array", &results_) ||
        !call.Uint32(4, "first", &first_) || !call.Uint32(5, "count", &count_) ||
        !call.Uint32(6, "skip", &skip_))
      return false;
    if (count_ > ends_.count || first_ > count_)
      return Refused(call, call[5], "count", "from first to the number of ends");
    uint32_t start = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      if (ends_.data[i] < start || ends_.data[i] > pieces_.count / 2)
        return Refused(call, call[2], "ends", "growing, up to the number of pieces");
      start = ends_.data[i];
    }
    for (size_t i = 0; i < pieces_.count; ++i)
      if (!(pieces_.data[i] >= 0 && pieces_.data[i] <= kMaximumNumber))
        return Refused(call, call[1], "pieces", "made of user addresses and bytes");
    return true;
  }

  static bool Refused(const Call& call, napi_value value, const char* name, const char* rule) {
    call.WrongValue(value, name, rule);
    return false;
  }

  int Fd() const { return fd_; }
  uint32_t First() const { return first_; }
  uint32_t Count() const { return count_; }
  uint32_t Skip() const { return skip_; }
  const Elements<int32_t>& Results() const { return results_; }
  uint32_t Start(uint32_t chain) const { return chain == 0 ? 0 : ends_.data[chain - 1]; }
  uint32_t End(uint32_t chain) const { return ends_.data[chain]; }
  bool Has(uint32_t piece) const { return piece < pieces_.count / 2; }
  iovec Piece(uint32_t piece) const {
    return {reinterpret_cast<void*>(static_cast<uintptr_t>(pieces_.data[2 * piece])),
            static_cast<size_t>(pieces_.data[2 * piece + 1])};
  }

 private:
  int fd_ = -1;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
  uint32_t skip_ = 0;
  Elements<double> pieces_;
  Elements<uint32_t> ends_;
  Elements<int32_t> results_;
};

// The vector of one frame, all of it but the first `skip` bytes.
class Vector {
 public:
  explicit Vector(size_t skip) : skip_(skip) {}

  // False where readv(2) and writev(2) take no more pieces.
  bool Add(iovec piece) {
    const size_t skipped = std::min(skip_, piece.iov_len);
    skip_ -= skipped;
    if (piece.iov_len == skipped) return true;
    if (count_ == IOV_MAX) return false;
    vector_[count_++] = {static_cast<char*>(piece.iov_base) + skipped, piece.iov_len - skipped};
    bytes_ += piece.iov_len - skipped;
    return true;
  }

  bool HasRoomFor(size_t pieces) const { return count_ + pieces <= IOV_MAX; }
  size_t Bytes() const { return bytes_; }
  const iovec* Data() const { return vector_; }
  int Count() const { return static_cast<int>(count_); }

 private:
  iovec vector_[IOV_MAX];
  size_t count_ = 0;
  size_t bytes_ = 0;
  size_t skip_;
};

// writev(2) of each chain from `first` on, without its first `skip` bytes.
napi_value Write(Call& call) {
  Chains chains;
  if (!chains.Read(call)) return nullptr;
  if (chains.Results().count < chains.Count()) {
    Chains::Refused(call, call[3], "results", "as long as there are chains");
    return nullptr;
  }
  uint32_t chain = chains.First();
  for (; chain < chains.Count(); ++chain) {
    Vector vector(chains.Skip());
    bool fits = true;
    for (uint32_t i = chains.Start(chain); i < chains.End(chain); ++i)
      fits = vector.Add(chains.Piece(i)) && fits;
    if (!fits) {
      chains.Results().data[chain] = -EMSGSIZE;
      break;
    }
    const ssize_t sent =
        UninterruptedBySignals([&] { return writev(chains.Fd(), vector.Data(), vector.Count()); });
    chains.Results().data[chain] = static_cast<int32_t>(sent == -1 ? -errno : sent);
    if (sent == -1) break;
  }
  return call.Number(chain);
}

// readv(2) into chains from `first` on, each frame at the `skip`-th byte of the next chain, which
// as many follow as hold `need` bytes, where there are so many.
napi_value Read(Call& call) {
  Chains chains;
  uint32_t need = 0;
  if (!chains.Read(call) || !call.Uint32(7, "need", &need)) return nullptr;
  const uint32_t count = chains.Count();
  const uint32_t spill = count == 0 ? 0 : chains.End(count - 1);
  if (!chains.Has(spill)) {
    Chains::Refused(call, call[1], "pieces", "such that one follows those of the last chain");
    return nullptr;
  }
  const uint32_t most = static_cast<uint32_t>(chains.Results().count / 2);
  uint32_t frames = 0;
  for (uint32_t chain = chains.First(); frames < most && chain < count; ++frames) {
    Vector vector(chains.Skip());
    uint32_t end = chain;
    do {
      for (uint32_t i = chains.Start(end); i < chains.End(end); ++i) vector.Add(chains.Piece(i));
      ++end;
    } while (end < count && vector.Bytes() < need &&
             vector.HasRoomFor(chains.End(end) - chains.Start(end) + 1));
    const size_t room = vector.Bytes();
    ssize_t size = -1;
    errno = EMSGSIZE;
    if (vector.Add(chains.Piece(spill)))
      size =
          UninterruptedBySignals([&] { return readv(chains.Fd(), vector.Data(), vector.Count()); });
    int32_t* result = chains.Results().data + 2 * frames;
    result[0] = static_cast<int32_t>(size == -1 ? -errno : size);
    result[1] = size <= 0 ? 0 : -static_cast<int32_t>(end - chain);
    if (size <= 0 || static_cast<size_t>(size) > room) return call.Number(frames + 1);
    size_t held = 0;
    const uint32_t begin = chain;
    while (held < chains.Skip() + static_cast<size_t>(size)) {
      for (uint32_t i = chains.Start(chain); i < chains.End(chain); ++i)
        held += chains.Piece(i).iov_len;
      ++chain;
    }
    result[1] = static_cast<int32_t>(chain - begin);
  }
  return call.Number(frames);
}

// fcntl(2) F_SETFL with O_NONBLOCK.
napi_value SetNonBlocking(Call& call) {
  int fd = -1;
  if (!call.Descriptor(0, "fd", &fd)) return nullptr;
  const int flags = fcntl(fd, F_GETFL);
  if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1)
    return call.Refuse(errno, {"fcntl"});
  return nullptr;
}

// socketpair(2) of SOCK_SEQPACKET.
napi_value Pair(Call& call) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == -1)
    return call.Refuse(errno, {"socketpair"});
  Fd first(ends[0]);
  Fd second(ends[1]);
  Environment& state = call.State();
  Napi::Array result = Napi::Array::New(call.Env(), 2);
  result.Set(0U,
             Napi::Number::New(call.Env(), state.Own(std::move(first), Environment::Kind::kOther)));
  result.Set(
      1U, Napi::Number::New(call.Env(), state.Own(std::move(second), Environment::Kind::kOther)));
  return result;
}

constexpr Method kMethods[] = {
    {"frames.write", Entry<Write>},
    {"frames.read", Entry<Read>},
    {"frames.setNonBlocking", Entry<SetNonBlocking>},
    {"frames.pair", Entry<Pair>},
};

}  // namespace

bool DefineFrames(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "frames", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
