/* The store in a directory of this machine: files put atomically, verified when read, quarantined.
 *
 *   key                the install key, 32 bytes, made once
 *   states/<name>      32 hex digits
 *   sessions/<id>, paths/<name>  likewise; <name>.tmp while being written
 *   quarantine/        what was damaged or not ours; at most STORE_QUARANTINE files */
#ifndef RECURD_DIRSTORE_H
#define RECURD_DIRSTORE_H

#include "statecache/store/fsio.h"
#include "statecache/store/store.h"

#define STORE_QUARANTINE 64   /* files kept for a human to look at */
#define STORE_PATH 4096       /* the longest path the kernel takes */

/* Makes the directories and the key as needed, removes temporary files. f->key is filled in.
 * E_IO, E_DENIED (another process has the directory). After an error, too, store_close. */
int dirstore_open(struct store *s, const char *dir, const char *key_file, const struct fsio *io,
                  struct format *f, struct err *e) MUST_USE;
/* Reads an install key. E_IO, E_NOENT, E_FORMAT. */
int dirstore_key(const struct fsio *io, const char *path, unsigned char key[CODEC_KEY],
                 struct err *e) MUST_USE;

#endif
