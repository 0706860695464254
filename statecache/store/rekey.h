/* A state directory sealed anew with a changed key, while no daemon uses it.
 *
 * File by file: a copy with the new seal is written beside it, synced, read back and checked, and
 * then takes its name. So every file has one seal or the other at any time, and what was
 * interrupted is gone on with. Names stay (installkey.h). */
#ifndef RECURD_REKEY_H
#define RECURD_REKEY_H

#include "statecache/store/dirstore.h"

struct rekey_counts {
    uint64_t sealed, bytes; /* files that were sealed anew */
    uint64_t already;       /* had the new seal */
    uint64_t bad;           /* damaged, or of neither key: left, and told; no key would save them */
    uint64_t left;          /* could not be read or are of a newer version: they need the old key */
};

struct rekey {
    const struct fsio *io;
    char dir[STORE_PATH - 128];
    struct format format; /* the two keys */
    bool own;             /* the directory's key is the old one, DIRSTORE_NEXT the new one */
    int lock_fd;
    struct compressor *compressor; /* NULL until a compressed file is read */
    struct rekey_counts counts;
    void (*tell)(void *arg, const char *file, const char *why); /* of what is bad or left */
    void *arg;
};

/* Takes the directory's lock and the keys; key_file NULL: the directory's own key is changed, to
 * one that is made here. E_DENIED: a daemon uses it; E_IO, E_NOENT, and as installkey_load. After
 * an error, too, rekey_close. */
int rekey_open(struct rekey *r, const char *dir, const char *key_file, const char *old_file,
               const struct fsio *io, struct err *e) MUST_USE;
/* States, paths, session records and the log of turns. E_IO: the medium; E_NOMEM. */
int rekey_files(struct rekey *r, struct err *e) MUST_USE;
/* After all that is there was sealed: with a key of its own the directory takes the new one. Only
 * while nothing is left. */
int rekey_finish(struct rekey *r, struct err *e) MUST_USE;
void rekey_close(struct rekey *r);

#endif
