/* Sessions in the log of turns: what is logged when one changes, and what a start makes of it.
 *
 * A change is logged as the difference to the session's record file (change.h), so the log is
 * needed only until the next record file is durable; then, or when a later change of the session
 * is logged, the older record is dead, and segments of dead records go. All changes that wait are
 * written as one frame, by a thread of its own: it never waits for a state. Under the cache's lock,
 * but for what that thread does. */
#ifndef RECURD_JOURNAL_H
#define RECURD_JOURNAL_H

#include "statecache/session.h"
#include "statecache/store/change.h"
#include "statecache/store/turnlog.h"
#include "statecache/store/writer.h"

struct session;

/* A record that belongs to no living session: a deleted one, or one that this run cannot use. */
struct relic {
    struct relic *next;
    struct session_id id;
    enum change_kind kind;
    uint64_t segment;  /* 0: not logged */
    bool waiting;      /* in a batch */
    bool failed;       /* a deletion that could not be logged */
    bool removed;      /* a deletion: the record file is gone for good */
    size_t n;
    unsigned char *bytes;
};

struct journal_entry {
    struct tenant_tag tenant;
    struct session_id id;
    uint64_t generation;
    struct relic *relic; /* NULL = of a session */
};

struct journal_batch {
    struct buf frame; /* TURNLOG_HEAD bytes of room, then records */
    struct journal_entry *entry;
    uint32_t n, cap;
};

/* Live records of a segment that this run has written. */
struct segment_use { uint64_t number, live; };

struct change_found;

struct journal {
    bool on;               /* changes are logged */
    struct turnlog log;    /* of the thread of `writer` */
    struct writer writer;
    struct journal_batch waiting, flying;
    struct segment_use use[TURNLOG_SEGMENTS];
    int n_use;
    struct relic *relics;
    unsigned char model[CHANGE_MODEL];
    unsigned char made[2][CHANGE_MODEL]; /* by our arithmetic, by another */
    uint64_t first, last;  /* segments: the oldest there is, that of the last batch */
    bool failed;           /* reading, or removing segments */
    uint64_t largest;      /* bytes of a record that is still logged */
    /* the one job, which carries what waits: */
    struct job job;
    struct statecache *sc;
    bool queued, opening; /* opening: journal_flush does the job */
    bool hold;            /* what was read is still needed */
    uint64_t retry_ns;    /* deletions that were not logged are then */
    bool said;            /* that changes are not logged */
    uint64_t below, segment; /* what may go; where the last batch is */
    int rc, drop_rc;
    struct err err;
    struct store_health health; /* copied when it is done, */
    uint64_t bytes, quarantined; /* as this: of the folder; of segments that did not check */
    /* while opening: */
    struct buf frames;
    struct change_found *found;
    size_t n_found, cap_found;
};

/* Opens and reads the log, before the records are scanned. */
int journal_open(struct statecache *sc, struct err *e) MUST_USE;
/* There is a record file of this session. Before it is read: is the session deleted? */
bool journal_deleted(struct statecache *sc, const unsigned char id[16]);
/* The file was removed for good, or could not be. */
void journal_removed(struct statecache *sc, const unsigned char id[16], bool gone);
/* x is as its file says: brings it to what the log says. E_FORMAT: the two do not fit. */
int journal_apply(struct statecache *sc, struct session *x, struct err *e) MUST_USE;
/* No session came of the file: its change is lost with it, or waits as the file does. */
void journal_orphan(struct statecache *sc, const unsigned char id[16], bool waits);
/* After the scan: sessions that only the log has; then what is still needed is written anew, and
 * what was read goes. */
int journal_replay(struct statecache *sc, struct err *e) MUST_USE;
void journal_close(struct statecache *sc); /* after the other writer is closed */

/* Opening. What waits is written here and now. */
int journal_flush(struct statecache *sc, struct err *e) MUST_USE;
void journal_start(struct statecache *sc);

/* x has changed: logs it, and says when its record file is due. */
void journal_changed(struct statecache *sc, struct session *x);
/* Its change waits to be logged. False: it is not, a record file must do. */
bool journal_add(struct statecache *sc, struct session *x);
/* A record file of x is durable, or x is being deleted: see what is dead. */
void journal_covered(struct statecache *sc, struct session *x);
/* x is deleted: a record that says so waits. False: the log is off, or there is no memory. */
bool journal_delete(struct statecache *sc, const struct session *x);
/* Of this session; NULL: there is none, or it has done its work. */
struct relic *journal_relic(struct statecache *sc, const struct session_id *id);
struct relic *journal_relic_new(struct statecache *sc, const struct change *c, const void *bytes,
                                size_t n);
bool journal_keep(struct statecache *sc, struct relic *r); /* it waits to be logged; or not */
/* Deletions that could not be logged are tried again. */
void journal_tick(struct statecache *sc);

#endif
