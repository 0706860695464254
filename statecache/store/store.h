/* States and records by name: atomic put, verified get, quarantine; wherever they are.
 *
 * Used by the thread that opens the cache, then by the writer thread alone. */
#ifndef RECURD_STORE_H
#define RECURD_STORE_H

#include "base/clock.h"
#include "base/latency.h"
#include "statecache/store/compress.h"
#include "statecache/store/codec.h"

struct store;

enum store_kind { STORE_STATES, STORE_SESSIONS, STORE_PATHS, STORE_KINDS };

/* What the cache copies under its lock after every job. */
struct store_health {
    struct latency fsync;
    uint64_t quarantine_bytes; /* now */
    struct compress_count packed, expanded;
    uint64_t files_written, files_quarantined, write_errors, read_errors;
    bool sick; /* the medium failed twice: nothing is written until a try succeeds */
    uint64_t retry_ns; /* when the next one is due, of clock_now_ns */
};

#define STORE_RETRY_NS (60 * NS_PER_S)

static inline bool store_may_write(const struct store_health *h)
{
    return !h->sick || clock_now_ns() >= h->retry_ns;
}

/* What stores states, session records and stretches of paths by name; one implementation is a
 * directory (dirstore.h), another may be on another machine. What each member does: see the
 * function of its name below. */
struct store_ops {
    void (*close)(struct store *s);
    bool (*packs)(struct store *s, const struct part part[PARTS]);
    int (*put)(struct store *s, enum store_kind kind, const unsigned char name[16],
               const unsigned char head[CODEC_HEAD], const struct part part[PARTS], bool durable,
               bool *renamed, struct err *e);
    int (*sync)(struct store *s, enum store_kind kind, const unsigned char name[16],
                struct err *e);
    int (*remove)(struct store *s, enum store_kind kind, const unsigned char name[16],
                  bool durable, struct err *e);
    int (*get)(struct store *s, enum store_kind kind, const unsigned char name[16], int *handle,
               struct head *h, struct err *e);
    int (*part)(struct store *s, int handle, const struct head *h, enum codec_part i,
                const struct part *p, struct err *e);
    void (*done)(struct store *s, int handle);
    void (*quarantine)(struct store *s, enum store_kind kind, const unsigned char name[16],
                       const char *why);
    int (*list)(struct store *s, enum store_kind kind,
                void (*each)(void *arg, const unsigned char name[16]), void *arg, struct err *e);
};

struct store {
    const struct store_ops *ops; /* NULL = not open */
    void *impl;                  /* the implementation's own */
    const struct format *format;
    enum compress_rule compress; /* states; never until somebody says so */
    uint64_t put_bytes;          /* that the file of the last put has */
    struct store_health health;  /* of the thread that uses the store */
};

void store_close(struct store *s); /* nothing if it is not open */

/* Whether a state of these parts is to be packed: its head is sealed so then. */
bool store_packs(struct store *s, const struct part part[PARTS]);
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

/* Opens a file and checks its head: h, and *handle, an opaque number until store_done. As
 * codec_open, and E_NOENT, E_IO; E_UNSUPPORTED: it is packed, and this build has no libzstd. */
int store_get(struct store *s, enum store_kind kind, const unsigned char name[16], int *handle,
              struct head *h, struct err *e) MUST_USE;
/* Reads part i of an open file into p and checks it. */
int store_part(struct store *s, int handle, const struct head *h, enum codec_part i,
               const struct part *p, struct err *e) MUST_USE;
void store_done(struct store *s, int handle);

/* Moves a file that did not check out of the way, with one line in the log. */
void store_quarantine(struct store *s, enum store_kind kind, const unsigned char name[16],
                      const char *why);
/* Calls each() for every well-formed name; other files are left alone. */
int store_list(struct store *s, enum store_kind kind,
               void (*each)(void *arg, const unsigned char name[16]), void *arg,
               struct err *e) MUST_USE;

#endif
