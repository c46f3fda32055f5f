// The lowest cost of a fan-out: each chunk that is read is written to every other connection. Without
// frames, and blocked by a slow receiver, it is a yardstick, not a server.
#include "listen.h"

enum { CONNECTIONS_MAX = 200000 };

static int connections[CONNECTIONS_MAX], open_count;
static uint8_t input[READ_BYTES];

static void end(int fd) {
  for (int i = 0; i < open_count; i++)
    if (connections[i] == fd) {
      connections[i] = connections[--open_count];
      break;
    }
  close(fd);
}

static void serve(int fd) {
  ssize_t got = read(fd, input, sizeof input);
  if (got <= 0)
    return end(fd);
  for (int i = 0; i < open_count; i++)
    if (connections[i] != fd)
      write_all(connections[i], input, (size_t)got);
}

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  int listener = listen_on(argv[1]), epoll = epoll_create1(0);
  watch(epoll, listener, EPOLLIN);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        serve(fd);
        continue;
      }
      fd = accept_one(listener);
      if (fd < 0 || open_count == CONNECTIONS_MAX)
        continue;
      watch(epoll, fd, EPOLLIN);
      connections[open_count++] = fd;
    }
  }
}
