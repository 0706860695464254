/* The table of settings, for the files that parse and print it. Not for others. */
#ifndef RECURD_OPTIONS_INT_H
#define RECURD_OPTIONS_INT_H

#include "server/process/options.h"

enum option_kind { OPTION_STR, OPTION_LIST, OPTION_INT, OPTION_AUTO };

struct option_row {
    const char *key; /* with '_'; NULL: a heading, which is `sentence` */
    enum option_kind kind;
    size_t offset;
    const char *str;
    int64_t dflt, min, max;
    const char *metavar, *sentence;
};
/* So many rows, headings included. */
enum {
    n_option_rows = 0
#define OPT(name, ...) +1
#define GROUP(title) +1
#include "server/process/options.def"
#undef OPT
#undef GROUP
};
extern const struct option_row option_rows[n_option_rows];

static inline bool option_is_text(const struct option_row *r)
{
    return r->kind == OPTION_STR || r->kind == OPTION_LIST;
}
static inline char **option_str(const struct options *o, const struct option_row *r)
{
    return (char **)((char *)(uintptr_t)o + r->offset);
}
static inline int64_t *option_int(const struct options *o, const struct option_row *r)
{
    return (int64_t *)((char *)(uintptr_t)o + r->offset);
}

#define OPTION_NAME 64
/* The key as people write it: '-' for '_'. */
const char *option_shown(const struct option_row *r, char out[OPTION_NAME]);
/* The row of a key as written; NULL = none. */
const struct option_row *option_find(const char *key);

/* ---- options_other.c: faults, names that people know from elsewhere ---- */

/* One more fault: kept for the list of all, the first in e, too. Returns code. */
int options_fault(struct options *o, struct err *e, int code, const char *fmt, ...) PRINTF(4, 5);

/* Whether `name` ("-m", "--port", in a file "port") is another name of a setting; *r = its row, or
 * NULL where it needs more than that: then options_other_set does it. */
bool options_other(const char *name, bool in_file, const struct option_row **r);
/* For rows that are NULL; where stands in messages. 0, or a recorded fault. */
int options_other_set(struct options *o, const char *name, const char *value, const char *where,
                      struct err *e);
/* " (do you mean --slots?)", or "" where nothing is near. dashes: as flags are written. */
const char *options_near(const char *name, bool dashes, char *out, size_t size);
void options_print_others(FILE *f);

#endif
