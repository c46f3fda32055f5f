// The lowest cost of finding 5-byte-header frames in received bytes: PASSES passes over as many frames
// of 64 bytes of payload as one read brings. Prints the number of frames.
#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 5, PAYLOAD_BYTES = 64, FRAMES = 949, LEN_MAX = 1 << 20 };

static uint8_t input[FRAMES * (HEADER_BYTES + PAYLOAD_BYTES)];

struct frame {
  uint8_t command;
  const uint8_t *payload;
  size_t len;
};

// Decodes the frame at the beginning of `len` bytes. Returns its length with the header, 0 if it is
// incomplete, -1 if it is too long.
static inline ptrdiff_t decode(const uint8_t *bytes, size_t len, struct frame *frame) {
  if (len < HEADER_BYTES)
    return 0;
  uint32_t payload;
  memcpy(&payload, bytes + 1, sizeof payload);
  payload = ntohl(payload);
  if (payload > LEN_MAX)
    return -1;
  size_t whole = HEADER_BYTES + (size_t)payload;
  if (len < whole)
    return 0;
  *frame = (struct frame){bytes[0], bytes + HEADER_BYTES, payload};
  return (ptrdiff_t)whole;
}

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  for (size_t i = 0; i < FRAMES; i++) {
    uint8_t *frame = input + i * (HEADER_BYTES + PAYLOAD_BYTES);
    memcpy(frame, (uint8_t[]){1, 0, 0, 0, PAYLOAD_BYTES}, HEADER_BYTES);
  }
  unsigned long frames = 0;
  for (long passes = atol(argv[1]); passes > 0; passes--) {
    size_t at = 0;
    ptrdiff_t found;
    struct frame frame;
    while ((found = decode(input + at, sizeof input - at, &frame)) > 0) {
      // The frame is used, in memory, as with Rust's black_box.
      __asm__ volatile("" : : "r"(&frame) : "memory");
      at += (size_t)found;
      frames++;
    }
  }
  printf("%lu\n", frames);
}
