/* The kernel sources and the tuning table, embedded at build time (base/embed.sh). Read-only. */
#ifndef RECURD_OCL_SOURCE_H
#define RECURD_OCL_SOURCE_H

#include "base/buf.h"

struct ocl_source {
    const char *name; /* path below src/, e.g. "norm.cl" */
    const char *text; /* NUL-terminated */
};
extern const struct ocl_source ocl_sources[]; /* ends with a NULL name */

/* NULL when there is none of this name. */
const char *ocl_source_find(const char *name);
/* Appends what every kernel starts with: the constants shared with C, then common.clh. */
void ocl_source_begin(struct buf *b);
/* Appends a text there is, with the line numbers of its file. */
void ocl_source_add(struct buf *b, const char *name);
/* Appends a list of "#define NAME ..." lines, and what reads weights in blocks if they have a
 * Q_BITS (FN is defined); _undefine takes back what that defines. */
void ocl_source_define(struct buf *b, const char *defines);
void ocl_source_undefine(struct buf *b, const char *defines);

#endif
