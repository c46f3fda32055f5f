// The lowest cost of an echo of 5-byte-header frames: read, find the frames, copy them, write, on an
// edge-triggered epoll. Without limits, timeouts, log and queue it is a yardstick, not a server.
#include "listen.h"

enum { HEADER_BYTES = 5, ECHO = 1, FILES_MAX = 1 << 20 };

// The beginning of an incomplete frame.
struct part {
  uint8_t *bytes;
  uint32_t len, capacity;
};

static struct part *parts;
static uint8_t input[READ_BYTES], output[READ_BYTES];

static void end(int fd) {
  close(fd);
  free(parts[fd].bytes);
  memset(&parts[fd], 0, sizeof parts[fd]);
}

static void keep(struct part *part, const uint8_t *bytes, uint32_t len) {
  if (!len) {
    free(part->bytes);
    memset(part, 0, sizeof *part);
    return;
  }
  if (part->capacity < len) {
    part->bytes = realloc(part->bytes, len);
    part->capacity = len;
  }
  memcpy(part->bytes, bytes, len);
  part->len = len;
}

// Answers the whole frames in `len` bytes of input. Returns where the rest begins.
static size_t answer(int fd, size_t len) {
  size_t at = 0;
  while (len - at >= HEADER_BYTES) {
    uint32_t payload;
    memcpy(&payload, input + at + 1, sizeof payload);
    size_t frame = HEADER_BYTES + (size_t)ntohl(payload);
    if (len - at < frame)
      break;
    output[at] = ECHO;
    memcpy(output + at + 1, input + at + 1, frame - 1);
    at += frame;
  }
  write_all(fd, output, at);
  return at;
}

static void serve(int fd) {
  struct part *part = &parts[fd];
  for (;;) {
    size_t kept = part->len;
    if (kept)
      memcpy(input, part->bytes, kept);
    ssize_t got = read(fd, input + kept, sizeof input - kept);
    if (got < 0 && errno == EAGAIN)
      return;
    if (got <= 0)
      return end(fd);
    size_t len = kept + (size_t)got, done = answer(fd, len);
    if (part->len || done < len)
      keep(part, input + done, (uint32_t)(len - done));
    // A short read has emptied the socket.
    if ((size_t)got < sizeof input - kept)
      return;
  }
}

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  int listener = listen_on(argv[1]), epoll = epoll_create1(0);
  watch(epoll, listener, EPOLLIN | EPOLLET);
  parts = calloc(FILES_MAX, sizeof *parts);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd != listener)
        serve(fd);
      else
        while ((fd = accept_one(listener)) >= 0)
          watch(epoll, fd, EPOLLIN | EPOLLET | EPOLLRDHUP);
    }
  }
}
