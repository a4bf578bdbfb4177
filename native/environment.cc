#include "environment.h"

#include <sys/mman.h>

#include <vector>

#include "bus_guard.h"
#include "poller.h"

namespace vhost_net {

bool Environment::Attach(napi_env env) {
  auto* state = new Environment(env);
  const auto destroy = [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); };
  if (napi_set_instance_data(env, state, destroy, nullptr) != napi_ok) {
    delete state;
    return false;
  }
  // Asynchronous, because uv handles must be closed and their close callbacks, which live in this
  // library, must have run before the library may be unloaded. The hook also keeps `env` alive
  // until it is removed.
  return napi_add_async_cleanup_hook(env, OnTeardown, state, &state->hook_) == napi_ok;
}

Environment* Environment::Of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Environment*>(data);
}

int Environment::Own(Fd fd, Kind kind) {
  const int number = fd.Release();
  descriptors_[number] = kind;
  return number;
}

Environment::Kind Environment::KindOf(int fd) const {
  const auto found = descriptors_.find(fd);
  return found == descriptors_.end() ? Kind::kOther : found->second;
}

int Environment::Close(int fd) {
  const auto found = descriptors_.find(fd);
  if (found == descriptors_.end()) return EBADF;
  if (working_.count(fd) != 0) return EBUSY;
  descriptors_.erase(found);
  for (auto& entry : mappings_)
    if (entry.second.memfd == fd) entry.second.memfd = -1;
  // Linux lets go of the number whatever close(2) answers: a second attempt could close another's.
  if (close(fd) == -1 && errno != EINTR) return errno;
  return 0;
}

void Environment::AddMapping(void* address, const Mapping& mapping) {
  mappings_[reinterpret_cast<uintptr_t>(address)] = mapping;
}

const Environment::Mapping* Environment::FindMapping(uintptr_t address) const {
  const auto found = mappings_.find(address);
  return found == mappings_.end() ? nullptr : &found->second;
}

int Environment::RemoveMapping(uintptr_t address) {
  const auto found = mappings_.find(address);
  if (found == mappings_.end()) return EINVAL;
  const Mapping mapping = found->second;
  UnguardMapping(mapping.start);
  if (munmap(mapping.start, mapping.length) == -1) return errno;
  mappings_.erase(found);
  return mapping.memfd == -1 ? 0 : Close(mapping.memfd);
}

void Environment::PollerOpened(Poller* poller) { pollers_.insert(poller); }

void Environment::PollerClosing(Poller* poller) {
  pollers_.erase(poller);
  ++closing_pollers_;
}

void Environment::PollerClosed() {
  --closing_pollers_;
  FinishTeardown();
}

void Environment::WorkStarted(int fd) { working_.insert(fd); }

void Environment::WorkDone(int fd) {
  working_.erase(working_.find(fd));
  FinishTeardown();
}

void Environment::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  auto* state = static_cast<Environment*>(data);
  state->ending_ = true;
  const std::vector<Poller*> open(state->pollers_.begin(), state->pollers_.end());
  for (Poller* poller : open) poller->Close();
  state->FinishTeardown();
}

void Environment::FinishTeardown() {
  if (!ending_ || hook_ == nullptr || closing_pollers_ != 0 || !working_.empty()) return;
  CloseAll(Kind::kVhost);
  CloseAll(Kind::kOther);
  for (const auto& entry : mappings_) {
    UnguardMapping(entry.second.start);
    munmap(entry.second.start, entry.second.length);
    napi_delete_reference(env_, entry.second.buffer);
  }
  mappings_.clear();
  // The last thing done here: what follows may delete this object and unload this library.
  napi_remove_async_cleanup_hook(std::exchange(hook_, nullptr));
}

void Environment::CloseAll(Kind kind) {
  for (auto entry = descriptors_.begin(); entry != descriptors_.end();) {
    if (entry->second != kind) {
      ++entry;
      continue;
    }
    close(entry->first);
    entry = descriptors_.erase(entry);
  }
}

}  // namespace vhost_net
