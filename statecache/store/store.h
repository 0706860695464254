/* A directory of states and session records: atomic put, verified get, quarantine.
 *
 *   key                the install key, 32 bytes, made once
 *   states/<name>      32 hex digits
 *   sessions/<id>, paths/<name>  likewise; <name>.tmp while being written
 *   quarantine/        what was damaged or not ours; at most STORE_QUARANTINE files
 *
 * Used by the thread that opens the cache, then by the writer thread alone. */
#ifndef RECURD_STORE_H
#define RECURD_STORE_H

#include "base/clock.h"
#include "base/latency.h"
#include "statecache/store/codec.h"
#include "statecache/store/fsio.h"

#define STORE_QUARANTINE 64   /* files kept for a human to look at */
#define STORE_PATH 4096       /* the longest path the kernel takes */

enum store_kind { STORE_STATES, STORE_SESSIONS, STORE_PATHS, STORE_KINDS };

/* What the cache copies under its lock after every job. */
struct store_health {
    struct latency fsync;
    uint64_t files_written, files_quarantined, write_errors, read_errors;
    bool sick; /* the medium failed twice: nothing is written until a try succeeds */
    uint64_t retry_ns; /* when the next one is due, of clock_now_ns */
};

#define STORE_RETRY_NS (60 * NS_PER_S)

static inline bool store_may_write(const struct store_health *h)
{
    return !h->sick || clock_now_ns() >= h->retry_ns;
}

struct store {
    const struct fsio *io;
    const struct format *format;
    char dir[STORE_PATH - 128]; /* leaves room for the longest name below it */
    int lock_fd;
    int n_quarantined;
    struct store_health health; /* of the thread that uses the store */
};

/* Makes the directories and the key as needed, removes temporary files. f->key is filled in.
 * E_IO, E_DENIED (another process has the directory). */
int store_open(struct store *s, const char *dir, const char *key_file, const struct fsio *io,
               struct format *f, struct err *e) MUST_USE;
void store_close(struct store *s);

/* Atomically: the file has the old contents or all of the new ones. durable: and is on the medium
 * when this returns 0. E_NOMEM: no space, or another shortage. E_IO: tried twice, it is sick. Which
 * contents it has after an error nobody knows if *renamed (may be NULL). */
int store_put(struct store *s, enum store_kind kind, const unsigned char name[16],
              const unsigned char head[CODEC_HEAD], const struct part part[PARTS], bool durable,
              bool *renamed, struct err *e) MUST_USE;
/* Makes an existing file durable. */
int store_sync(struct store *s, enum store_kind kind, const unsigned char name[16],
               struct err *e) MUST_USE;
/* Removes a file; a missing one is fine. durable: it does not come back after a crash. */
int store_remove(struct store *s, enum store_kind kind, const unsigned char name[16],
                 bool durable, struct err *e) MUST_USE;

/* Opens a file and checks its head: *fd, h. As codec_open, and E_NOENT, E_IO. */
int store_get(struct store *s, enum store_kind kind, const unsigned char name[16], int *fd,
              struct head *h, struct err *e) MUST_USE;
/* Reads part i of an open file into p and checks it. */
int store_part(struct store *s, int fd, const struct head *h, enum codec_part i,
               const struct part *p, struct err *e) MUST_USE;
void store_done(struct store *s, int fd);

/* Moves a file that did not check out of the way, with one line in the log. */
void store_quarantine(struct store *s, enum store_kind kind, const unsigned char name[16],
                      const char *why);
/* Calls each() for every well-formed name; other files are left alone. */
int store_list(struct store *s, enum store_kind kind,
               void (*each)(void *arg, const unsigned char name[16]), void *arg,
               struct err *e) MUST_USE;

#endif
