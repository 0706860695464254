/* What --help says, from rows. The manual pages are made of the same rows (etc/manual). */
#ifndef RECURD_USAGE_H
#define RECURD_USAGE_H

#include <getopt.h>
#include <stdio.h>

#include "base/base.h"

/* SYNOPSIS: what follows the program's name. ABOUT: a paragraph. FLAG: with name, and meta if it
 * takes a value. */
enum usage_kind { USAGE_SYNOPSIS, USAGE_ABOUT, USAGE_FLAG };

struct usage_row {
    enum usage_kind kind;
    const char *name, *meta, *text; /* static */
    char letter; /* of a FLAG: what getopt_long answers for it */
};

/* Rows of a file that spells them SYNOPSIS(text) ABOUT(text) FLAG(name, letter, meta, text). */
#define USAGE_ROW_SYNOPSIS(text) {USAGE_SYNOPSIS, NULL, NULL, text, 0},
#define USAGE_ROW_ABOUT(text) {USAGE_ABOUT, NULL, NULL, text, 0},
#define USAGE_ROW_FLAG(name, letter, meta, text) {USAGE_FLAG, name, meta, text, letter},

/* The flags for getopt_long, with its end, into out [n + 1]. */
void usage_options(const struct usage_row *rows, size_t n, struct option *out);
void usage_print(FILE *f, const char *program, const struct usage_row *rows, size_t n);

/* left, then text from `column` on, in lines of at most `width` columns; a line of its own for a
 * left part that reaches the column. */
void usage_line(FILE *f, const char *left, const char *text, int column, int width);

#endif
