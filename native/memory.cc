#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <string>

#include "bus_guard.h"
#include "call.h"
#include "surfaces.h"

namespace vhost_net {

namespace {

// A mapping until somebody takes it over.
class Mapped {
 public:
  // mmap(2), shared, of `size` bytes of `fd` from `offset`, which a page size divides `lead` bytes
  // before it. The length is a multiple of that size, as munmap(2) wants it of huge pages.
  Mapped(int fd, uint64_t offset, size_t size, size_t page)
      : lead_(offset % page),
        size_(size),
        length_((lead_ + size + page - 1) / page * page),
        start_(mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                    static_cast<off_t>(offset - lead_))) {}
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  ~Mapped() {
    if (Valid()) munmap(start_, length_);
  }

  bool Valid() const { return start_ != MAP_FAILED; }
  void* Address() const { return static_cast<char*>(start_) + lead_; }
  size_t Size() const { return size_; }
  size_t Length() const { return length_; }
  void* Release() { return std::exchange(start_, MAP_FAILED); }

 private:
  size_t lead_;
  size_t size_;
  size_t length_;
  void* start_;
};

// What offsets of mmap(2) are multiples of: the size of a page, of a huge one in hugetlbfs.
size_t PageSizeOf(int fd, const struct stat& status) {
  struct statfs filesystem = {};
  const bool huge = fstatfs(fd, &filesystem) == 0 && filesystem.f_type == HUGETLBFS_MAGIC;
  return huge ? static_cast<size_t>(status.st_blksize) : static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Makes the Mapping that JavaScript sees and hands memory and memfd over to the environment.
napi_value Publish(Call& call, Mapped* mapped, Fd memfd) {
  const napi_env env = call.Env();
  napi_value buffer = nullptr;
  // Without a finalizer: the collector must not decide when memory that a device writes to goes
  // away.
  const napi_status status = napi_create_external_arraybuffer(
      env, mapped->Address(), mapped->Size(), nullptr, nullptr, &buffer);
  if (status == napi_no_external_buffers_allowed) {
    ThrowUnsupported(env, std::string(call.MethodName()) +
                              ": this runtime allows no external ArrayBuffer, and a copy would not "
                              "be the memory that the device sees");
    return nullptr;
  }
  bool refused = false;
  napi_is_exception_pending(env, &refused);
  if (status != napi_ok && refused) {
    napi_value exception = nullptr;
    napi_get_and_clear_last_exception(env, &exception);
    ThrowOutOfRange(env, std::string(call.MethodName()) +
                             ": size must be at most what this runtime lets an ArrayBuffer have; "
                             "received " +
                             std::to_string(mapped->Size()));
    return nullptr;
  }
  Environment::Mapping record;
  record.length = mapped->Length();
  if (status != napi_ok || napi_create_reference(env, buffer, 1, &record.buffer) != napi_ok)
    return nullptr;

  record.memfd = memfd.Get();
  Environment& state = call.State();
  void* address = mapped->Address();
  record.start = mapped->Release();
  // What was made here is sealed; another's file can be cut short at any time.
  if (memfd.Valid())
    state.Own(std::move(memfd), Environment::Kind::kOther);
  else
    GuardMapping(record.start, record.length);
  state.AddMapping(address, record);

  Napi::Object result = Napi::Object::New(call.Env());
  result.Set("fd", Napi::Number::New(call.Env(), record.memfd));
  result.Set("address", Napi::BigInt::New(call.Env(), reinterpret_cast<uint64_t>(address)));
  result.Set("buffer", Napi::Value(call.Env(), buffer));
  return result;
}

// sysconf(3) _SC_PAGESIZE.
napi_value PageSize(Call& call) { return call.Number(static_cast<double>(sysconf(_SC_PAGESIZE))); }

// memfd_create(2) with MFD_HUGETLB and the MFD_HUGE_* bits of a page size, which name its
// logarithm.
bool HugePageFlags(const Call& call, uint64_t size, unsigned int* flags) {
  if (size == 0) return true;
  unsigned int logarithm = 0;
  while (logarithm < 63 && (uint64_t{1} << logarithm) < size) ++logarithm;
  if ((uint64_t{1} << logarithm) != size) {
    call.WrongValue(call[2], "hugePageSize", "0 or a power of two");
    return false;
  }
  *flags |= MFD_HUGETLB | (logarithm << MFD_HUGE_SHIFT);
  return true;
}

napi_value Create(Call& call) {
  std::string name;
  uint64_t size = 0;
  uint64_t huge_page_size = 0;
  unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (!call.String(0, "name", &name) || !call.Size(1, "size", &size) ||
      !call.Size(2, "hugePageSize", &huge_page_size) ||
      !HugePageFlags(call, huge_page_size, &flags))
    return nullptr;
  Fd fd(memfd_create(name.c_str(), flags));
  if (!fd.Valid()) return call.Refuse(errno, {"memfd_create"});
  if (ftruncate(fd.Get(), static_cast<off_t>(size)) == -1) return call.Refuse(errno, {"ftruncate"});
  // Nobody who is handed this descriptor can take the pages away from under a device.
  if (fcntl(fd.Get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == -1)
    return call.Refuse(errno, {"fcntl", "F_ADD_SEALS"});
  struct stat status = {};
  if (fstat(fd.Get(), &status) == -1) return call.Refuse(errno, {"fstat"});
  Mapped mapped(fd.Get(), 0, size, PageSizeOf(fd.Get(), status));
  if (!mapped.Valid()) return call.Refuse(errno, {"mmap"});
  return Publish(call, &mapped, std::move(fd));
}

napi_value Map(Call& call) {
  int fd = -1;
  uint64_t offset = 0;
  uint64_t size = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Size(1, "offset", &offset) ||
      !call.Size(2, "size", &size))
    return nullptr;
  struct stat status = {};
  if (fstat(fd, &status) == -1) return call.Refuse(errno, {"fstat"});
  // mmap(2) refuses to map nothing, which rounding up to a page would hide.
  if (size == 0) return call.Refuse(EINVAL, {"mmap"});
  // mmap(2) would allow it, and the first touch of what is not there would end the process with
  // SIGBUS.
  if (S_ISREG(status.st_mode) && offset + size > static_cast<uint64_t>(status.st_size))
    return call.WrongValue(call[2], "size", "within the file that is mapped");
  Mapped mapped(fd, offset, size, PageSizeOf(fd, status));
  if (!mapped.Valid()) return call.Refuse(errno, {"mmap"});
  return Publish(call, &mapped, Fd());
}

// napi_detach_arraybuffer and munmap(2). EINVAL for what is not, or no longer, a mapping of this
// environment.
napi_value Unmap(Call& call) {
  const napi_env env = call.Env();
  napi_value address_value = nullptr;
  napi_value buffer = nullptr;
  uint64_t address = 0;
  if (!call.Object(call[0], "mapping") || !call.Property(call[0], "address", &address_value) ||
      !call.Uint64(address_value, {"mapping", "address"}, &address) ||
      !call.Property(call[0], "buffer", &buffer))
    return nullptr;
  bool is_buffer = false;
  napi_is_arraybuffer(env, buffer, &is_buffer);
  if (!is_buffer) return call.WrongType(buffer, {"mapping", "buffer"}, "an ArrayBuffer");

  const Environment::Mapping* mapping = call.State().FindMapping(address);
  // A number may come back after an unmap; the buffer tells which mapping is meant. One that was
  // detached by somebody else may have left the memory with a buffer unknown here, so it stays
  // mapped.
  bool same = false;
  bool detached = true;
  napi_value own = nullptr;
  if (mapping != nullptr && napi_get_reference_value(env, mapping->buffer, &own) == napi_ok &&
      own != nullptr) {
    napi_strict_equals(env, own, buffer, &same);
    napi_is_detached_arraybuffer(env, own, &detached);
  }
  if (!same || detached) return call.Refuse(EINVAL, {"munmap"});
  if (napi_detach_arraybuffer(env, own) != napi_ok) return call.Refuse(EBUSY, {"munmap"});
  napi_delete_reference(env, mapping->buffer);
  const int error = call.State().RemoveMapping(address);
  if (error != 0) call.Refuse(error, {"munmap"});
  return nullptr;
}

constexpr Method kMethods[] = {
    {"memory.pageSize", Entry<PageSize>},
    {"memory.create", Entry<Create>},
    {"memory.map", Entry<Map>},
    {"memory.unmap", Entry<Unmap>},
};

}  // namespace

bool DefineMemory(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "memory", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
