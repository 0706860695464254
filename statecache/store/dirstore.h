/* The store in a directory of this machine: files put atomically, verified when read, quarantined.
 *
 *   key                the install key, made once
 *   states/<name>      32 hex digits
 *   sessions/<id>, paths/<name>  likewise; <name>.tmp while being written
 *   quarantine/        what was damaged or not ours; at most STORE_QUARANTINE files */
#ifndef RECURD_DIRSTORE_H
#define RECURD_DIRSTORE_H

#include "statecache/store/installkey.h"
#include "statecache/store/store.h"

#define STORE_QUARANTINE 64   /* files kept for a human to look at */
#define STORE_PATH 4096       /* the longest path the kernel takes */
#define DIRSTORE_NEXT "key.new" /* while a directory's own key is changed: what becomes it */

/* Makes the directories and the key as needed, removes temporary files. f's keys are filled in:
 * key_file's (NULL = dir's own), and old_file's (NULL = none), see installkey.h. E_IO, E_FORMAT,
 * E_CONFLICT (of the keys), E_DENIED (another process has the directory). After an error, too,
 * store_close. */
int dirstore_open(struct store *s, const char *dir, const char *key_file, const char *old_file,
                  const struct fsio *io, struct format *f, struct err *e) MUST_USE;

#endif
