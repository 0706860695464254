/* Files read whole or in part, with sizes checked first. No mmap: a file that shrinks under us is
 * an error message, never a SIGBUS. */
#ifndef RECURD_FILE_H
#define RECURD_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* Reads all of path into out (cleared first). E_NOENT, E_IO, or E_RANGE above out->max. */
int file_read(const char *path, struct buf *out, struct err *e) MUST_USE;

/* Opens a regular file for reading; *size is its length. Returns the descriptor or a code < 0. */
int file_open(const char *path, uint64_t *size, struct err *e) MUST_USE;

/* Exactly n bytes at offset, or E_IO naming the file. */
int file_pread(int fd, void *p, size_t n, uint64_t offset, const char *path,
               struct err *e) MUST_USE;

/* E_DENIED when the file or folder has one of these permission bits, e.g. 022: others may write.
 * A path that is not there is fine. */
int file_check_mode(const char *path, unsigned forbidden, struct err *e) MUST_USE;

bool file_exists(const char *path);

#endif
