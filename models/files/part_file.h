/* A file written once from front to back, which appears under its name when it is whole.
 *
 * Until then its bytes are in PATH.part. PATH.part.journal says how far they are good: behind its
 * name a digest of what is being written (the program, the source, the file's first bytes), then
 * for each span the place where it ends and a digest over the one before and its bytes. A run that
 * was interrupted, by SIGKILL or a power cut, is gone on with behind the last span whose bytes have
 * that digest; a file without such a journal, or of another source, is begun anew. Thread: one. */
#ifndef RECURD_PART_FILE_H
#define RECURD_PART_FILE_H

#include "base/err.h"

#define PART_DIGEST 32

struct part_file;

/* Errors are sticky: the first is kept in e, later calls do nothing. NULL = no memory (recorded).
 * E_CONFLICT while another process writes the same file. */
struct part_file *part_open(const char *path, struct err *e);

/* The n bytes that the file begins with. source: of what all others depend on; NULL: nothing says,
 * the file is begun anew. */
void part_begin(struct part_file *p, const unsigned char source[PART_DIGEST], const void *head,
                size_t n);
/* Whether the next unit of n bytes is there already: then it counts as written. Units are the same
 * in every run of one build. */
bool part_has(struct part_file *p, uint64_t n);
void part_put(struct part_file *p, const void *bytes, size_t n);
/* The end of a unit, after its last part_put. */
void part_unit(struct part_file *p);

/* Syncs the file, and gives it its name. */
int part_finish(struct part_file *p) MUST_USE;
/* Of a file that was not finished nothing is left, unless the error is one that may go away
 * (E_IO, E_NOMEM): then the next run goes on. */
void part_close(struct part_file *p);

#endif
