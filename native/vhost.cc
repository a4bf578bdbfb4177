#include <fcntl.h>

#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "call.h"
#include "detach.h"
#include "surfaces.h"
#include "vhost_abi.h"

namespace vhost_net {

namespace {

// What the module's parameter max_mem_regions can be raised to, a `ushort`.
constexpr uint32_t kMaximumRegions = 65535;
// Far above the 128 bits that exist; bounds only what is allocated here.
constexpr uint32_t kMaximumFeatureWords = 64;

// open(2), O_RDWR | O_CLOEXEC | O_NONBLOCK.
napi_value Open(Call& call) {
  std::string path;
  if (!call.String(0, "path", &path)) return nullptr;
  Fd fd(
      UninterruptedBySignals([&] { return open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK); }));
  if (!fd.Valid()) return call.Refuse(errno, {"open", nullptr, kNoQueue, path.c_str()});
  return call.Number(call.State().Own(std::move(fd), Environment::Kind::kVhost));
}

napi_value GetU64(Call& call, Request request) {
  int fd = -1;
  uint64_t value = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Ioctl(fd, request, &value)) return nullptr;
  return call.BigInt(value);
}

napi_value SetU64(Call& call, const char* name, Request request) {
  int fd = -1;
  uint64_t value = 0;
  if (call.Descriptor(0, "fd", &fd) && call.Uint64(1, name, &value))
    call.Ioctl(fd, request, &value);
  return nullptr;
}

napi_value Plain(Call& call, Request request) {
  int fd = -1;
  if (call.Descriptor(0, "fd", &fd)) call.Ioctl(fd, request, nullptr);
  return nullptr;
}

// struct vhost_vring_state: a queue's index and a number.
napi_value SetState(Call& call, const char* name, Request request) {
  int fd = -1;
  vhost_vring_state state = {};
  if (call.Descriptor(0, "fd", &fd) && call.Uint32(1, "queue", &state.index) &&
      call.Uint32(2, name, &state.num))
    call.Ioctl(fd, request, &state, state.index);
  return nullptr;
}

napi_value GetState(Call& call, Request request) {
  int fd = -1;
  vhost_vring_state state = {};
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint32(1, "queue", &state.index) ||
      !call.Ioctl(fd, request, &state, state.index))
    return nullptr;
  return call.Number(state.num);
}

// struct vhost_vring_file: a queue's index and a descriptor, VHOST_FILE_UNBIND for none.
napi_value SetFile(Call& call, const char* name, Request request) {
  int fd = -1;
  vhost_vring_file file = {};
  if (call.Descriptor(0, "fd", &fd) && call.Uint32(1, "queue", &file.index) &&
      call.DescriptorOrNone(2, name, &file.fd))
    call.Ioctl(fd, request, &file, file.index);
  return nullptr;
}

napi_value GetFeatures(Call& call) { return GetU64(call, VHOST_NET_REQUEST(VHOST_GET_FEATURES)); }

napi_value SetFeatures(Call& call) {
  return SetU64(call, "features", VHOST_NET_REQUEST(VHOST_SET_FEATURES));
}

// VHOST_GET_FEATURES_ARRAY: struct vhost_features_array, a count and as many words.
napi_value GetFeaturesArray(Call& call) {
  int fd = -1;
  uint32_t words = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint32(1, "words", &words)) return nullptr;
  if (words > kMaximumFeatureWords)
    return call.WrongValue(call[1], "words", "a whole number from 0 to 64");
  std::vector<uint64_t> array(1 + words);
  array[0] = words;
  if (!call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_GET_FEATURES_ARRAY), array.data())) return nullptr;
  napi_value result = nullptr;
  napi_create_array_with_length(call.Env(), words, &result);
  for (uint32_t i = 0; i < words; ++i)
    napi_set_element(call.Env(), result, i, call.BigInt(array[1 + i]));
  return result;
}

napi_value SetFeaturesArray(Call& call) {
  int fd = -1;
  std::vector<napi_value> words;
  if (!call.Descriptor(0, "fd", &fd) || !call.Elements(1, "words", kMaximumFeatureWords, &words))
    return nullptr;
  std::vector<uint64_t> array(1 + words.size());
  array[0] = words.size();
  for (size_t i = 0; i < words.size(); ++i)
    if (!call.Uint64(words[i], {"words", static_cast<int64_t>(i)}, &array[1 + i])) return nullptr;
  call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_SET_FEATURES_ARRAY), array.data());
  return nullptr;
}

napi_value SetOwner(Call& call) { return Plain(call, VHOST_NET_REQUEST(VHOST_SET_OWNER)); }

napi_value ResetOwner(Call& call) { return Plain(call, VHOST_NET_REQUEST(VHOST_RESET_OWNER)); }

bool ReadRegion(const Call& call, napi_value value, int64_t index, vhost_memory_region* region) {
  if (!call.Object(value, {"regions", index})) return false;
  const auto read = [&](const char* property, __u64* out) {
    napi_value field = nullptr;
    uint64_t number = 0;
    if (!call.Property(value, property, &field) ||
        !call.Uint64(field, {"regions", index, property}, &number))
      return false;
    *out = number;
    return true;
  };
  return read("guestPhysicalAddress", &region->guest_phys_addr) &&
         read("size", &region->memory_size) && read("userAddress", &region->userspace_addr);
}

// VHOST_SET_MEM_TABLE: struct vhost_memory with its regions behind it.
napi_value SetMemTable(Call& call) {
  int fd = -1;
  std::vector<napi_value> values;
  if (!call.Descriptor(0, "fd", &fd) || !call.Elements(1, "regions", kMaximumRegions, &values))
    return nullptr;
  std::vector<vhost_memory_region> regions(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    if (!ReadRegion(call, values[i], static_cast<int64_t>(i), &regions[i])) return nullptr;

  const size_t regions_size = regions.size() * sizeof(vhost_memory_region);
  vhost_memory header = {};
  header.nregions = static_cast<uint32_t>(regions.size());
  std::vector<unsigned char> table(sizeof(header) + regions_size);
  std::memcpy(table.data(), &header, sizeof(header));
  if (regions_size != 0) std::memcpy(table.data() + sizeof(header), regions.data(), regions_size);
  call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_SET_MEM_TABLE), table.data());
  return nullptr;
}

napi_value SetLogBase(Call& call) {
  return SetU64(call, "address", VHOST_NET_REQUEST(VHOST_SET_LOG_BASE));
}

// VHOST_SET_LOG_FD: int.
napi_value SetLogFd(Call& call) {
  int fd = -1;
  int log = -1;
  if (call.Descriptor(0, "fd", &fd) && call.DescriptorOrNone(1, "logFd", &log))
    call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_SET_LOG_FD), &log);
  return nullptr;
}

napi_value SetVringNum(Call& call) {
  return SetState(call, "size", VHOST_NET_REQUEST(VHOST_SET_VRING_NUM));
}

// VHOST_SET_VRING_ADDR: struct vhost_vring_addr.
napi_value SetVringAddr(Call& call) {
  int fd = -1;
  vhost_vring_addr address = {};
  const napi_value object = call[2];
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint32(1, "queue", &address.index) ||
      !call.Object(object, "addresses"))
    return nullptr;
  const auto read = [&](const char* property, __u64* out) {
    napi_value field = nullptr;
    uint64_t number = 0;
    if (!call.Property(object, property, &field) ||
        !call.Uint64(field, {"addresses", property}, &number))
      return false;
    *out = number;
    return true;
  };
  napi_value flags = nullptr;
  if (!call.Property(object, "flags", &flags) ||
      !call.Uint32(flags, {"addresses", "flags"}, &address.flags) ||
      !read("descriptorTable", &address.desc_user_addr) ||
      !read("availableRing", &address.avail_user_addr) ||
      !read("usedRing", &address.used_user_addr) || !read("log", &address.log_guest_addr))
    return nullptr;
  call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_SET_VRING_ADDR), &address, address.index);
  return nullptr;
}

napi_value SetVringBase(Call& call) {
  return SetState(call, "base", VHOST_NET_REQUEST(VHOST_SET_VRING_BASE));
}

napi_value GetVringBase(Call& call) {
  return GetState(call, VHOST_NET_REQUEST(VHOST_GET_VRING_BASE));
}

napi_value SetVringEndian(Call& call) {
  return SetState(call, "endian", VHOST_NET_REQUEST(VHOST_SET_VRING_ENDIAN));
}

napi_value GetVringEndian(Call& call) {
  return GetState(call, VHOST_NET_REQUEST(VHOST_GET_VRING_ENDIAN));
}

napi_value SetVringKick(Call& call) {
  return SetFile(call, "eventFd", VHOST_NET_REQUEST(VHOST_SET_VRING_KICK));
}

napi_value SetVringCall(Call& call) {
  return SetFile(call, "eventFd", VHOST_NET_REQUEST(VHOST_SET_VRING_CALL));
}

napi_value SetVringErr(Call& call) {
  return SetFile(call, "eventFd", VHOST_NET_REQUEST(VHOST_SET_VRING_ERR));
}

napi_value SetVringBusyloopTimeout(Call& call) {
  return SetState(call, "microseconds", VHOST_NET_REQUEST(VHOST_SET_VRING_BUSYLOOP_TIMEOUT));
}

napi_value GetVringBusyloopTimeout(Call& call) {
  return GetState(call, VHOST_NET_REQUEST(VHOST_GET_VRING_BUSYLOOP_TIMEOUT));
}

napi_value SetBackendFeatures(Call& call) {
  return SetU64(call, "features", VHOST_NET_REQUEST(VHOST_SET_BACKEND_FEATURES));
}

napi_value GetBackendFeatures(Call& call) {
  return GetU64(call, VHOST_NET_REQUEST(VHOST_GET_BACKEND_FEATURES));
}

// VHOST_NEW_WORKER: struct vhost_worker_state, written by the kernel.
napi_value NewWorker(Call& call) {
  int fd = -1;
  vhost_worker_state state = {};
  if (!call.Descriptor(0, "fd", &fd) ||
      !call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_NEW_WORKER), &state))
    return nullptr;
  return call.Number(state.worker_id);
}

napi_value FreeWorker(Call& call) {
  int fd = -1;
  vhost_worker_state state = {};
  if (call.Descriptor(0, "fd", &fd) && call.Uint32(1, "worker", &state.worker_id))
    call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_FREE_WORKER), &state);
  return nullptr;
}

// VHOST_ATTACH_VRING_WORKER: struct vhost_vring_worker.
napi_value AttachVringWorker(Call& call) {
  int fd = -1;
  vhost_vring_worker worker = {};
  if (call.Descriptor(0, "fd", &fd) && call.Uint32(1, "queue", &worker.index) &&
      call.Uint32(2, "worker", &worker.worker_id))
    call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_ATTACH_VRING_WORKER), &worker, worker.index);
  return nullptr;
}

napi_value GetVringWorker(Call& call) {
  int fd = -1;
  vhost_vring_worker worker = {};
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint32(1, "queue", &worker.index) ||
      !call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_GET_VRING_WORKER), &worker, worker.index))
    return nullptr;
  return call.Number(worker.worker_id);
}

// A kernel that does not know a request reads the 32-bit index of a queue here, whatever is passed.
struct alignas(uint32_t) ForkFromOwner {
  uint8_t value;
  uint8_t padding[3];
};

// VHOST_SET_FORK_FROM_OWNER: u8.
napi_value SetForkFromOwner(Call& call) {
  int fd = -1;
  ForkFromOwner argument = {};
  if (call.Descriptor(0, "fd", &fd) && call.Uint8(1, "value", &argument.value))
    call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_SET_FORK_FROM_OWNER), &argument);
  return nullptr;
}

napi_value GetForkFromOwner(Call& call) {
  int fd = -1;
  ForkFromOwner argument = {};
  if (!call.Descriptor(0, "fd", &fd) ||
      !call.Ioctl(fd, VHOST_NET_REQUEST(VHOST_GET_FORK_FROM_OWNER), &argument))
    return nullptr;
  return call.Number(argument.value);
}

napi_value NetSetBackend(Call& call) {
  return SetFile(call, "backendFd", VHOST_NET_REQUEST(VHOST_NET_SET_BACKEND));
}

napi_value NetDetachBackend(Call& call) {
  int fd = -1;
  uint32_t queue = 0;
  if (!call.Descriptor(0, "fd", &fd) || !call.Uint32(1, "queue", &queue)) return nullptr;
  return StartDetach(call, fd, queue);
}

constexpr Method kMethods[] = {
    {"vhost.open", Entry<Open>},
    {"vhost.getFeatures", Entry<GetFeatures>},
    {"vhost.setFeatures", Entry<SetFeatures>},
    {"vhost.getFeaturesArray", Entry<GetFeaturesArray>},
    {"vhost.setFeaturesArray", Entry<SetFeaturesArray>},
    {"vhost.setOwner", Entry<SetOwner>},
    {"vhost.resetOwner", Entry<ResetOwner>},
    {"vhost.setMemTable", Entry<SetMemTable>},
    {"vhost.setLogBase", Entry<SetLogBase>},
    {"vhost.setLogFd", Entry<SetLogFd>},
    {"vhost.setVringNum", Entry<SetVringNum>},
    {"vhost.setVringAddr", Entry<SetVringAddr>},
    {"vhost.setVringBase", Entry<SetVringBase>},
    {"vhost.getVringBase", Entry<GetVringBase>},
    {"vhost.setVringEndian", Entry<SetVringEndian>},
    {"vhost.getVringEndian", Entry<GetVringEndian>},
    {"vhost.setVringKick", Entry<SetVringKick>},
    {"vhost.setVringCall", Entry<SetVringCall>},
    {"vhost.setVringErr", Entry<SetVringErr>},
    {"vhost.setVringBusyloopTimeout", Entry<SetVringBusyloopTimeout>},
    {"vhost.getVringBusyloopTimeout", Entry<GetVringBusyloopTimeout>},
    {"vhost.setBackendFeatures", Entry<SetBackendFeatures>},
    {"vhost.getBackendFeatures", Entry<GetBackendFeatures>},
    {"vhost.newWorker", Entry<NewWorker>},
    {"vhost.freeWorker", Entry<FreeWorker>},
    {"vhost.attachVringWorker", Entry<AttachVringWorker>},
    {"vhost.getVringWorker", Entry<GetVringWorker>},
    {"vhost.setForkFromOwner", Entry<SetForkFromOwner>},
    {"vhost.getForkFromOwner", Entry<GetForkFromOwner>},
    {"vhost.netSetBackend", Entry<NetSetBackend>},
    {"vhost.netDetachBackend", Entry<NetDetachBackend>},
};

}  // namespace

bool DefineVhost(napi_env env, napi_value exports) {
  return DefineGroup(env, exports, "vhost", kMethods, std::size(kMethods));
}

}  // namespace vhost_net
