/* Built programs on disk. A file is believed only when its whole key (source, options, device,
 * driver) is equal byte for byte and its payload has the checksum written beside it. */
#ifndef RECURD_OCL_CACHE_H
#define RECURD_OCL_CACHE_H

#include "base/buf.h"
#include "base/err.h"

/* true: out holds the payload stored for this key. Anything wrong with the file is a miss. */
bool ocl_cache_get(const char *dir, const char *key, size_t key_len, struct buf *out);

/* Writes atomically (temporary file, fsync, rename). A cache that cannot be written costs the
 * next start some seconds, so the caller may only log the error. */
int ocl_cache_put(const char *dir, const char *key, size_t key_len, const void *payload,
                  size_t len, struct err *e) MUST_USE;

#endif
