/* Shared by gguf.c (files) and gguf_parse.c (their bytes): not for others. */
#ifndef RECURD_GGUF_INT_H
#define RECURD_GGUF_INT_H

#include "models/files/gguf.h"

struct part { /* one file */
    char *path;
    int fd; /* -1: bytes in memory */
    uint64_t size;
    char *head; /* its header; owned if fd >= 0 */
    size_t head_n, head_used;
    struct gguf_value *values;
    size_t n_values;
};

struct gguf {
    struct part *parts;
    size_t n_parts;
    struct gguf_tensor *tensors;
    size_t n, cap;
    struct gguf_tensor **by_name;
};

/* The bytes of a header at hand. */
struct cursor {
    const unsigned char *p;
    size_t n, at;  /* bytes at hand, and used */
    uint64_t size; /* of the file */
    bool more;     /* stopped because the bytes at hand end, not the file's */
    const char *path;
    struct err *e;
};

/* Fills f's values and adds f's tensors behind g's first `first`. c->more afterwards: nothing is
 * wrong so far, but more of the file must be at hand. */
int gguf_parse_header(struct gguf *g, struct cursor *c, struct part *f, int32_t file,
                      size_t first) MUST_USE;

const struct gguf_value *gguf_find_value(const struct part *f, const char *key);

#endif
