/* Every program's command line as rows, from the tables that the programs are made of. */
#ifndef RECURD_MANUAL_TABLES_H
#define RECURD_MANUAL_TABLES_H

#include "base/base.h"

enum row_kind { ROW_HEADING, ROW_FLAG, ROW_KEY, ROW_ALIAS, ROW_SYNOPSIS, ROW_ABOUT };

struct row {
    enum row_kind kind;
    const char *name; /* with its dashes, but for KEY: as in options.def, with '_' */
    const char *meta; /* NULL: takes no value */
    const char *text;
    const char *str;  /* default of a text; NULL = none */
    double number;    /* of a number, where has_number */
    bool has_number, is_auto, is_list;
    int64_t min, max; /* of KEY; both 0 = not told */
};

struct program {
    const char *name;
    const struct row *rows;
    size_t n;
    const char *words; /* subcommands, with spaces between; NULL = none */
};

/* NULL: there is no program of this name. */
const struct program *tables_program(const char *name);

struct key_limit { const char *word; int64_t max; const char *text; };
extern const struct key_limit key_limits[];
extern const size_t n_key_limits;

struct exit_code { int code; const char *text; };
extern const struct exit_code exit_codes[];
extern const size_t n_exit_codes;

#define ROW_NAME 64
/* The flag of a row, "--state-dir" of state_dir; or without dashes, as in a file. */
const char *row_name(const struct row *r, bool dashes, char out[ROW_NAME]);

#endif
