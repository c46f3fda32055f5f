// The least an echo of 5-byte-header frames costs: read, find the frames, copy them, write, on an
// edge-triggered epoll. It has no limits, no timeouts, no log and no queue; it is no server to run.
#include "listen.h"

enum { HEADER_BYTES = 5, ECHO = 1, FILES_MAX = 1 << 20 };

// The beginning of a frame that has not arrived whole.
struct part {
  uint8_t *bytes;
  uint32_t len, room;
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
  if (part->room < len) {
    part->bytes = realloc(part->bytes, len);
    part->room = len;
  }
  memcpy(part->bytes, bytes, len);
  part->len = len;
}

// Answers the whole frames among `len` bytes of input; where the rest begins.
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
