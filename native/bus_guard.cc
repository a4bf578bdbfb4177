#include "bus_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

namespace vhost_net {

namespace {

// A guarded mapping; free where `start` is 0. It stays in the list for good, because a handler may
// be reading it on any thread.
struct Guarded {
  std::atomic<uintptr_t> start{0};
  std::atomic<size_t> length{0};
  Guarded* next = nullptr;
};

std::atomic<Guarded*> list{nullptr};
std::mutex changing;
size_t guarded_count = 0;
struct sigaction previous = {};

// mmap(2) is a system call that touches nothing of this library's, so a handler may call it.
bool Replace(uintptr_t address) {
  for (Guarded* entry = list.load(); entry != nullptr; entry = entry->next) {
    const uintptr_t start = entry->start.load();
    const size_t length = entry->length.load();
    // Between the two, the entry may have become another mapping's.
    if (start == 0 || entry->start.load() != start) continue;
    if (address < start || address - start >= length) continue;
    // Whole, because a mapping in pieces could run into the limit of how many there may be.
    return mmap(reinterpret_cast<void*>(start), length, PROT_READ | PROT_WRITE,
                MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
  }
  return false;
}

void OnBusError(int signal, siginfo_t* information, void* context) {
  const int saved = errno;
  const bool replaced = information->si_code == BUS_ADRERR &&
                        Replace(reinterpret_cast<uintptr_t>(information->si_addr));
  errno = saved;
  if (replaced) return;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, information, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    // It is delivered once this handler is over, and ends the process as it would have.
    sigaction(signal, &previous, nullptr);
    raise(signal);
  }
}

void Install() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

// The library may be unloaded once nothing is guarded.
void Uninstall() {
  struct sigaction current = {};
  sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == OnBusError)
    sigaction(SIGBUS, &previous, nullptr);
}

}  // namespace

void GuardMapping(void* start, size_t length) {
  const std::lock_guard<std::mutex> lock(changing);
  Guarded* entry = list.load();
  while (entry != nullptr && entry->start.load() != 0) entry = entry->next;
  if (entry == nullptr) {
    entry = new Guarded;
    entry->next = list.load();
    list.store(entry);
  }
  entry->length.store(length);
  entry->start.store(reinterpret_cast<uintptr_t>(start));
  if (guarded_count++ == 0) Install();
}

void UnguardMapping(void* start) {
  const std::lock_guard<std::mutex> lock(changing);
  for (Guarded* entry = list.load(); entry != nullptr; entry = entry->next) {
    if (entry->start.load() != reinterpret_cast<uintptr_t>(start)) continue;
    entry->start.store(0);
    if (--guarded_count == 0) Uninstall();
    return;
  }
}

}  // namespace vhost_net
