/* The ids of long paths on disk: one file for every whole stretch, written before the first state
 * beyond it, read back when a prompt, a rewind or an export wants them compared, cut or copied.
 *
 * A stretch's name is a keyed digest of the one before it and its ids, so a state's file names its
 * whole path by the last stretch and has only what is beyond it. Under the cache's lock, but for
 * what the writer thread does. */
#ifndef RECURD_STRETCH_H
#define RECURD_STRETCH_H

#include "statecache/statecache_int.h"

/* Queues the files of all stretches up to `at`, the first of the path first; the next job in the
 * queue may name the last. False: no memory. */
bool stretch_save(struct statecache *sc, struct tenant *t, struct node *at);
/* The name of the last whole stretch up to `at`, zero if there is none; it has been on disk. */
void stretch_name(const struct statecache *sc, struct node *at, unsigned char name[16]);
/* The same in a job that is going to write it down. E_BUSY: its file is still behind in the queue.
 * E_IO: it did not get to the disk, or a part of the path was lost. */
int stretch_path(const struct statecache *sc, struct node *at, unsigned char name[16],
                 struct err *e) MUST_USE;
bool stretch_lost(const struct node *at); /* a part of its path cannot be read back */

/* Are ids [from, to) of the path to leaf in memory? E_BUSY, without a text: they are being read,
 * see stretch_wait. E_IO: they cannot be. E_NOMEM. */
int stretch_ask(struct statecache *sc, struct node *leaf, int64_t from, int64_t to,
                struct err *e) MUST_USE;
/* The same for prefix_at(leaf, pos), and for prefix_insert(from, tokens, n). */
int stretch_ask_at(struct statecache *sc, struct node *leaf, int64_t pos,
                   struct err *e) MUST_USE;
int stretch_ask_below(struct statecache *sc, struct node *from, const int32_t *tokens, int64_t n,
                      struct err *e) MUST_USE;
/* Gives up the lock until something has changed: whatever is not pinned may be gone then. False:
 * it is later than `until`, and e says so. */
bool stretch_wait(struct statecache *sc, const struct timespec *until, struct err *e);
struct timespec stretch_deadline(void); /* from now on */

/* The ids of n leave memory if its file has them and nobody asked for them just now. */
void stretch_cool(struct statecache *sc, struct node *n);

/* At start, before the states: all stretches, cold. Then those that nothing leads through go. */
int stretch_scan(struct statecache *sc, struct err *e) MUST_USE;
/* Where the tokens of a scanned file of t begin; NULL: the path before them is missing. */
struct node *stretch_scanned(struct statecache *sc, const struct tenant *t, const struct head *h);
/* As stretch_ask_at and stretch_ask_below, but read here and now. */
int stretch_open_at(struct statecache *sc, struct node *leaf, int64_t pos, struct err *e) MUST_USE;
int stretch_open_below(struct statecache *sc, struct node *from, const int32_t *tokens, int64_t n,
                       struct err *e) MUST_USE;
/* What leads to nothing goes, unless something could not be read. */
void stretch_scan_end(struct statecache *sc);

#endif
