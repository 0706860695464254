/* Settings: defaults, then the configuration file, then the command line.
 *
 * options.def is the only list of them; the parser, the configuration file, --help and
 * --default-config are made from it. Owner: main. Thread: read-only once parsed. */
#ifndef RECURD_OPTIONS_H
#define RECURD_OPTIONS_H

#include <stdio.h>

#include "base/err.h"
#include "base/limits.h"

/* Of an AUTO setting: chosen when the model is known. */
#define OPTIONS_AUTO (-1)
/* So many faults are told; more are counted. */
#define OPTIONS_FAULTS 20

enum options_action {
    OPTIONS_SERVE, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_CHECK, OPTIONS_DESCRIBE,
    OPTIONS_DEFAULTS, OPTIONS_DEVICES,
};

struct options {
#define OPT_FIELD_STR(name) char *name;
#define OPT_FIELD_LIST(name) char *name; /* with commas between */
#define OPT_FIELD_INT(name) int64_t name;
#define OPT_FIELD_AUTO(name) int64_t name;
#define GROUP(title)
#define OPT(name, kind, dflt, min, max, metavar, sentence) OPT_FIELD_##kind(name)
#include "server/process/options.def"
#undef OPT
#undef GROUP
    enum options_action action;
    char *config; /* path of the file that was read; NULL = none */
    char *faults[OPTIONS_FAULTS]; /* a sentence each, as found; NULL where memory had run out */
    int n_faults;
};

/* Fills o. E_RANGE, E_FORMAT, E_CONFLICT or E_NOENT with a sentence that names the flag, or file
 * and line; o->faults has those of all faults, this one first. Also after a failure options_fini
 * must be called. */
int options_parse(struct options *o, int argc, char **argv, struct err *e) MUST_USE;
void options_fini(struct options *o);

/* The file alone, for the fuzzer and the tests: text of n bytes; name stands in messages. */
int options_parse_file(struct options *o, const char *text, size_t n, const char *name,
                       struct err *e) MUST_USE;
void options_defaults(struct options *o);

void options_print_help(FILE *f);
void options_print_defaults(FILE *f); /* a recurd.conf with every key at its default */
void options_print(const struct options *o, FILE *f); /* what is in force */

#endif
