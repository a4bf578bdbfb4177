#include "network_namespace.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include <cerrno>

namespace vhost_net {

namespace {

struct Visit {
  const std::string& path;
  const std::function<int()>& make;
  Fd made;
  int error = 0;
  const char* syscall = nullptr;
  // Whether it was the way into the namespace that failed.
  bool outside = true;

  void Failed(const char* what) {
    error = errno;
    syscall = what;
  }
};

void* VisitNamespace(void* data) {
  auto* visit = static_cast<Visit*>(data);
  const Fd door(
      UninterruptedBySignals([&] { return open(visit->path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!door.Valid()) {
    visit->Failed("open");
  } else if (setns(door.Get(), CLONE_NEWNET) == -1) {
    visit->Failed("setns");
  } else {
    visit->outside = false;
    visit->made.Reset(visit->make());
    if (!visit->made.Valid()) visit->Failed(nullptr);
  }
  return nullptr;
}

}  // namespace

Fd MakeInNetworkNamespace(const Call& call, const std::string& path,
                          const std::function<int()>& make, const Refusal& refusal) {
  if (path.empty()) {
    Fd made(make());
    if (!made.Valid()) call.Refuse(errno, refusal);
    return made;
  }
  Visit visit{path, make, Fd()};
  pthread_t thread;
  // Not std::thread, whose failure to start is an exception.
  const int error = pthread_create(&thread, nullptr, VisitNamespace, &visit);
  if (error != 0) {
    call.Refuse(error, {"pthread_create"});
    return Fd();
  }
  pthread_join(thread, nullptr);
  if (visit.made.Valid()) return std::move(visit.made);
  if (visit.outside) {
    call.Refuse(visit.error, {visit.syscall, nullptr, kNoQueue, path.c_str()});
  } else {
    call.Refuse(visit.error, refusal);
  }
  return Fd();
}

}  // namespace vhost_net
