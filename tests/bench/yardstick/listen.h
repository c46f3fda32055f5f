// The start of both yardsticks: a listening socket on loopback and an epoll instance.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 1024, READ_BYTES = 256 * 1024 };

static _Noreturn void fail(const char *what) {
  perror(what);
  exit(1);
}

static int listen_on(const char *port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address))
    fail("bind");
  if (listen(listener, 4096))
    fail("listen");
  return listener;
}

static void watch(int epoll, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
    fail("epoll_ctl");
}

// Accepts a connection, or returns -1 if there is none.
static int accept_one(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  int on = 1;
  if (fd >= 0)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// Writes all bytes. There is no queue: it waits for a full socket.
static void write_all(int fd, const uint8_t *bytes, size_t len) {
  while (len) {
    ssize_t written = write(fd, bytes, len);
    if (written < 0 && errno == EAGAIN) {
      usleep(50);
      continue;
    }
    if (written < 0)
      return;
    bytes += written;
    len -= (size_t)written;
  }
}
