/* The install key, from its file, and the key of before while it is being changed.
 *
 * A key is two halves of 32 bytes: one seals (heads, frames, the shared store's names and boxes),
 * the other names (files, tenants, the models of the log). A file of 32 bytes is both in one. A
 * changed key seals anew and names as before, so that every tenant and every file stays who it is:
 *
 *   { head -c 32 /dev/urandom; tail -c 32 OLD; } >NEW
 *
 * Used by the thread that opens. */
#ifndef RECURD_INSTALLKEY_H
#define RECURD_INSTALLKEY_H

#include "statecache/store/codec.h"
#include "statecache/store/fsio.h"

#define INSTALLKEY_MAX (2 * CODEC_KEY)

struct installkey { unsigned char seal[CODEC_KEY], names[CODEC_KEY]; };

/* E_IO, E_NOENT; E_FORMAT: neither 32 nor 64 bytes. */
int installkey_read(const struct fsio *io, const char *path, struct installkey *out,
                    struct err *e) MUST_USE;
/* f: seals and names by `key`, accepts the seals of `old` (NULL = none) too. E_CONFLICT: they are
 * one key, or name otherwise; the sentence has both paths. */
int installkey_take(struct format *f, const struct installkey *key, const char *path,
                    const struct installkey *old, const char *old_path, struct err *e) MUST_USE;
/* Reads path and old_path (NULL = there is none) and takes them. */
int installkey_load(struct format *f, const struct fsio *io, const char *path,
                    const char *old_path, struct err *e) MUST_USE;
/* Writes it to a new file, by way of tmp: it is on the medium after that. dir: of both. */
int installkey_write(const struct fsio *io, const char *dir, const char *tmp, const char *path,
                     const struct installkey *key, struct err *e) MUST_USE;

#endif
