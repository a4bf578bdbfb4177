#ifndef VHOST_NET_NATIVE_ENVIRONMENT_H_
#define VHOST_NET_NATIVE_ENVIRONMENT_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>

#include "eventfd.h"
#include "fd.h"

namespace vhost_net {

class Poller;

// What one environment (the main thread, a Worker) owns: descriptors, mappings, watches, work on
// the pool. When the environment ends it lets go of them in the order that the kernel needs:
// watches, vhost devices (whose close waits until the kernel has let go of the memory), other
// descriptors, and memory last.
class Environment {
 public:
  // Only what the order of closing depends on.
  enum class Kind { kVhost, kOther };

  struct Mapping {
    // What mmap(2) gave; the address by which the mapping is known lies in it.
    void* start = nullptr;
    size_t length = 0;
    int memfd = -1;
    // The ArrayBuffer, held so that its identity can be asked for and that `unmap` can detach it.
    napi_ref buffer = nullptr;
  };

  // Makes the state of a new environment; false with an exception pending.
  static bool Attach(napi_env env);
  static Environment* Of(napi_env env);

  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // Records a descriptor and returns it.
  int Own(Fd fd, Kind kind);
  // How a copy of `fd` is to be recorded.
  Kind KindOf(int fd) const;
  // Closes a descriptor of this environment; 0 or an errno: EBADF for another's, EBUSY while work
  // on the pool uses it.
  int Close(int fd);

  void AddMapping(void* address, const Mapping& mapping);
  const Mapping* FindMapping(uintptr_t address) const;
  // munmap(2), and closes the memfd; 0 or an errno.
  int RemoveMapping(uintptr_t address);

  Signaller& Signals() { return signals_; }

  void PollerOpened(Poller* poller);
  // The watch was ended; its handle closes later.
  void PollerClosing(Poller* poller);
  void PollerClosed();

  // Work on the pool that uses the device `fd`.
  void WorkStarted(int fd);
  void WorkDone(int fd);

 private:
  explicit Environment(napi_env env) : env_(env) {}
  ~Environment() = default;

  static void OnTeardown(napi_async_cleanup_hook_handle handle, void* data);
  // Lets go of everything once no handle and no work is left, and lets the environment end.
  void FinishTeardown();
  void CloseAll(Kind kind);

  napi_env env_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool ending_ = false;
  std::unordered_map<int, Kind> descriptors_;
  std::unordered_map<uintptr_t, Mapping> mappings_;
  std::unordered_set<Poller*> pollers_;
  size_t closing_pollers_ = 0;
  std::unordered_multiset<int> working_;
  Signaller signals_;
};

}  // namespace vhost_net

#endif
