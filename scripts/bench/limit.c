/*
 * The plainest fast driver of /dev/vhost-net: what the device can do when nearly nothing is asked of the driver.
 * All buffers are posted for ever, nothing is checked, nothing is counted but frames, and the loop never sleeps but
 * where it says so.
 *
 *   limit tx TAP HEX         sends the frame HEX again and again
 *   limit rx TAP             receives
 *   limit swap TAP           sends back what it receives, addresses swapped
 *   limit echo TAP HEX [US]  for each line of seconds on the standard input: sends the frame HEX, waits for the
 *                            answer, and so on; prints the percentiles of the round trip. It polls, and the device
 *                            for US microseconds; without US it sleeps until the device calls
 *
 * Prints "ready" once the device runs; `limit open TAP` prints the milliseconds until then and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 256, BUFFER = 2048, HEADER = 12, RX = 0, TX = 1 };

static const uint64_t guest_address = 0x100000;

struct queue {
  struct vring ring;
  uint16_t available;
  uint16_t used;
  int kick;
  int call;
  unsigned char *buffers;
};

static unsigned char *memory;
static struct queue queues[2];
static int vhost;

static int check(int result, const char *what) {
  if (result >= 0) return result;
  fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void lay_out(struct queue *queue, size_t offset, int writable) {
  vring_init(&queue->ring, SIZE, memory + offset, 4096);
  queue->buffers = memory + offset + 65536;
  for (int i = 0; i < SIZE; i++) {
    queue->ring.desc[i].addr = guest_address + offset + 65536 + (uint64_t)i * BUFFER;
    queue->ring.desc[i].len = BUFFER;
    queue->ring.desc[i].flags = writable ? VRING_DESC_F_WRITE : 0;
  }
}

/* The device calls when it has returned the chain at `after` places from here; at -1, as good as never. */
static void ask_for_call(struct queue *queue, int after) {
  uint16_t event = (uint16_t)(queue->used + after);
  memcpy(&vring_used_event(&queue->ring), &event, sizeof event);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void start(const char *tap) {
  const size_t part = 65536 + SIZE * BUFFER;
  memory = mmap(NULL, 2 * part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) check(-1, "mmap");
  lay_out(&queues[RX], 0, 1);
  lay_out(&queues[TX], part, 0);

  int tun = check(open("/dev/net/tun", O_RDWR), "/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(request.ifr_name, tap, IFNAMSIZ - 1);
  check(ioctl(tun, TUNSETIFF, &request), "TUNSETIFF");
  int header = HEADER;
  check(ioctl(tun, TUNSETVNETHDRSZ, &header), "TUNSETVNETHDRSZ");

  vhost = check(open("/dev/vhost-net", O_RDWR), "/dev/vhost-net");
  check(ioctl(vhost, VHOST_SET_OWNER), "VHOST_SET_OWNER");
  uint64_t features = 1ull << 32 /* VERSION_1 */ | 1ull << VIRTIO_RING_F_EVENT_IDX;
  check(ioctl(vhost, VHOST_SET_FEATURES, &features), "VHOST_SET_FEATURES");
  struct vhost_memory *table = calloc(1, sizeof *table + sizeof table->regions[0]);
  table->nregions = 1;
  table->regions[0].guest_phys_addr = guest_address;
  table->regions[0].memory_size = 2 * part;
  table->regions[0].userspace_addr = (uintptr_t)memory;
  check(ioctl(vhost, VHOST_SET_MEM_TABLE, table), "VHOST_SET_MEM_TABLE");
  free(table);
  for (unsigned i = 0; i < 2; i++) {
    struct queue *queue = &queues[i];
    struct vhost_vring_state size = {.index = i, .num = SIZE};
    struct vhost_vring_state base = {.index = i, .num = 0};
    struct vhost_vring_addr place = {
        .index = i,
        .desc_user_addr = (uintptr_t)queue->ring.desc,
        .avail_user_addr = (uintptr_t)queue->ring.avail,
        .used_user_addr = (uintptr_t)queue->ring.used,
    };
    queue->kick = check(eventfd(0, 0), "eventfd");
    queue->call = check(eventfd(0, 0), "eventfd");
    struct vhost_vring_file kick = {.index = i, .fd = queue->kick};
    struct vhost_vring_file call = {.index = i, .fd = queue->call};
    struct vhost_vring_file backend = {.index = i, .fd = tun};
    check(ioctl(vhost, VHOST_SET_VRING_NUM, &size), "VHOST_SET_VRING_NUM");
    check(ioctl(vhost, VHOST_SET_VRING_BASE, &base), "VHOST_SET_VRING_BASE");
    check(ioctl(vhost, VHOST_SET_VRING_ADDR, &place), "VHOST_SET_VRING_ADDR");
    check(ioctl(vhost, VHOST_SET_VRING_KICK, &kick), "VHOST_SET_VRING_KICK");
    check(ioctl(vhost, VHOST_SET_VRING_CALL, &call), "VHOST_SET_VRING_CALL");
    ask_for_call(queue, -1);
    check(ioctl(vhost, VHOST_NET_SET_BACKEND, &backend), "VHOST_NET_SET_BACKEND");
  }
}

/* Adds a chain to the available ring; the device sees it at the next publish. */
static void offer(struct queue *queue, uint16_t head) {
  queue->ring.avail->ring[queue->available++ & (SIZE - 1)] = head;
}

static void publish(struct queue *queue) {
  uint16_t before = queue->ring.avail->idx;
  __atomic_store_n(&queue->ring.avail->idx, queue->available, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  uint16_t event;
  memcpy(&event, &vring_avail_event(&queue->ring), sizeof event);
  if (!vring_need_event(event, queue->available, before)) return;
  uint64_t one = 1;
  if (write(queue->kick, &one, sizeof one) < 0) check(-1, "kick");
}

static uint16_t arrived(struct queue *queue) {
  return (uint16_t)(__atomic_load_n(&queue->ring.used->idx, __ATOMIC_ACQUIRE) - queue->used);
}

static struct vring_used_elem *next_used(struct queue *queue) {
  return &queue->ring.used->ring[queue->used++ & (SIZE - 1)];
}

static void post_all(struct queue *queue) {
  for (uint16_t head = 0; head < SIZE; head++) offer(queue, head);
  publish(queue);
}

/* Whatever came back goes out again at once. */
static void circulate(struct queue *queue) {
  for (;;) {
    uint16_t count = arrived(queue);
    if (count == 0) continue;
    while (count-- > 0) offer(queue, (uint16_t)next_used(queue)->id);
    publish(queue);
  }
}

/* Puts the frame, in hexadecimal, into a transmit buffer. */
static void fill(int buffer, const char *hex) {
  size_t length = strlen(hex) / 2;
  for (size_t i = 0; i < length; i++) {
    unsigned byte;
    sscanf(hex + 2 * i, "%2x", &byte);
    queues[TX].buffers[buffer * BUFFER + HEADER + i] = (unsigned char)byte;
  }
  queues[TX].ring.desc[buffer].len = (uint32_t)(HEADER + length);
}

static void transmit(const char *hex) {
  for (int i = 0; i < SIZE; i++) fill(i, hex);
  post_all(&queues[TX]);
  circulate(&queues[TX]);
}

/* Frames go out from the buffer they came in: the two rings trade descriptors that name the same buffers. */
static void swap(void) {
  struct queue *rx = &queues[RX], *tx = &queues[TX];
  for (int i = 0; i < SIZE; i++) tx->ring.desc[i].addr = rx->ring.desc[i].addr;
  for (;;) {
    uint16_t count = arrived(tx), returned = count;
    while (count-- > 0) offer(rx, (uint16_t)next_used(tx)->id);
    if (returned > 0) publish(rx);
    count = arrived(rx);
    if (count == 0) continue;
    while (count-- > 0) {
      struct vring_used_elem *element = next_used(rx);
      unsigned char *frame = rx->buffers + element->id * BUFFER + HEADER, kept[6];
      memcpy(kept, frame, 6);
      memcpy(frame, frame + 6, 6);
      memcpy(frame + 6, kept, 6);
      tx->ring.desc[element->id].len = element->len;
      offer(tx, (uint16_t)element->id);
    }
    publish(tx);
  }
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Whether a frame is an ICMP echo reply: the network stack sends others of its own accord. */
static int answers(const unsigned char *frame) {
  return frame[12] == 8 && frame[13] == 0 && frame[23] == 1 && frame[34] == 0;
}

/* Takes what came; whether the answer was among it. */
static int take_answer(struct queue *queue) {
  int answered = 0;
  uint16_t count = arrived(queue);
  if (count == 0) return 0;
  while (count-- > 0) {
    uint16_t head = (uint16_t)next_used(queue)->id;
    answered |= answers(queue->buffers + head * BUFFER + HEADER);
    offer(queue, head);
  }
  return answered;
}

static void busy_poll(unsigned microseconds) {
  for (unsigned i = 0; i < 2; i++) {
    struct vhost_vring_state timeout = {.index = i, .num = microseconds};
    check(ioctl(vhost, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &timeout), "VHOST_SET_VRING_BUSYLOOP_TIMEOUT");
  }
}

/* Waits for the next chain of a queue, asleep. */
static void sleep_until_call(struct queue *queue) {
  ask_for_call(queue, 0);
  uint64_t calls;
  if (arrived(queue) == 0 && read(queue->call, &calls, sizeof calls) < 0) check(-1, "call");
  ask_for_call(queue, -1);
}

static void echo(const char *hex, int sleeps) {
  enum { MOST = 1 << 20 };
  uint32_t *times = malloc(MOST * sizeof *times);
  fill(0, hex);
  double seconds;
  while (scanf("%lf", &seconds) == 1) {
    uint64_t end = nanoseconds() + (uint64_t)(seconds * 1e9);
    size_t count = 0;
    while (count < MOST) {
      uint64_t sent = nanoseconds();
      if (sent > end) break;
      offer(&queues[TX], 0);
      publish(&queues[TX]);
      while (!take_answer(&queues[RX])) {
        if (sleeps) sleep_until_call(&queues[RX]);
        if (nanoseconds() - sent > 5000000000u) check((errno = ETIMEDOUT, -1), "no answer");
      }
      times[count++] = (uint32_t)(nanoseconds() - sent);
      publish(&queues[RX]);
      while (arrived(&queues[TX]) == 0);
      next_used(&queues[TX]);
    }
    qsort(times, count, sizeof *times, by_value);
    printf("{\"count\":%zu,\"p50\":%g,\"p99\":%g,\"p999\":%g}\n", count, times[count / 2] / 1e3,
           times[count * 99 / 100] / 1e3, times[count * 999 / 1000] / 1e3);
    fflush(stdout);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *work = argv[1];
  uint64_t began = nanoseconds();
  start(argv[2]);
  if (strcmp(work, "tx") != 0) post_all(&queues[RX]);
  if (strcmp(work, "open") == 0) {
    printf("{\"milliseconds\":%g}\n", (double)(nanoseconds() - began) / 1e6);
    return 0;
  }
  puts("ready");
  fflush(stdout);
  if (strcmp(work, "tx") == 0 && argc == 4) transmit(argv[3]);
  if (strcmp(work, "rx") == 0) circulate(&queues[RX]);
  if (strcmp(work, "swap") == 0) swap();
  if (strcmp(work, "echo") == 0 && argc == 5) busy_poll((unsigned)atoi(argv[4]));
  if (strcmp(work, "echo") == 0 && argc >= 4) echo(argv[3], argc == 4);
  return 2;
}
