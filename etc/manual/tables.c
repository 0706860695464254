/* The tables of all programs. */
#include "etc/manual/tables.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

#define OPTIONS_AUTO (-1)
#define KEY_STR(d) .str = (d)
#define KEY_LIST(d) .str = (d), .is_list = true
#define KEY_INT(d) .number = (double)(d), .has_number = true
#define KEY_AUTO(d) .number = (double)(d), .has_number = true, .is_auto = true

static const struct row recurd[] = {
#define GROUP(title) {.kind = ROW_HEADING, .text = title},
#define OPT(field, type, dflt, low, high, metavar, sentence) \
    {.kind = ROW_KEY, .name = #field, .meta = metavar, .text = sentence, .min = low, .max = high, \
     KEY_##type(dflt)},
#include "server/process/options.def"
#undef OPT
#undef GROUP
    {.kind = ROW_HEADING, .text = "Instead of serving, and where settings come from"},
#define SOURCE(flag, metavar, sentence) \
    {.kind = ROW_FLAG, .name = flag, .meta = metavar, .text = sentence},
#define ACTION(flag, what, sentence) {.kind = ROW_FLAG, .name = flag, .text = sentence},
#include "server/process/actions.def"
#undef ACTION
#undef SOURCE
    {.kind = ROW_HEADING, .text = "Names that people know from elsewhere"},
#define OTHER(flag, key, help) \
    {.kind = ROW_ALIAS, .name = flag, .meta = (key) ? (key) : "", .text = help},
#include "server/process/others.def"
#undef OTHER
};

#define ARG_STR(d) .str = (d)
#define ARG_LIST(d) .is_list = true
#define ARG_FLAG(d) .has_number = false
#define ARG_INT(d) .number = (double)(d), .has_number = (d) != 0
#define ARG_REAL(d) .number = (d), .has_number = (d) > 0
static const struct row bench[] = {
#define SECTION(title) {.kind = ROW_HEADING, .text = title},
#define ARG(field, type, dflt, metavar, sentence) \
    {.kind = ROW_KEY, .name = #field, .meta = metavar, .text = sentence, ARG_##type(dflt)},
#include "programs/recurd-bench/args.def"
#undef ARG
#undef SECTION
};

#define SYNOPSIS(sentence) {.kind = ROW_SYNOPSIS, .text = sentence},
#define ABOUT(sentence) {.kind = ROW_ABOUT, .text = sentence},
#define FLAG(flag, letter, metavar, sentence) \
    {.kind = ROW_FLAG, .name = "--" flag, .meta = metavar, .text = sentence},
static const struct row eval[] = {
#include "programs/recurd-eval/args.def"
};
static const struct row state[] = {
#include "programs/recurd-state/args.def"
};
static const struct row convert[] = {
#include "programs/recurd-convert.def"
};
#undef FLAG
#undef ABOUT
#undef SYNOPSIS

static const struct program programs[] = {
    {"recurd", recurd, ARRAY_LEN(recurd), "serve run"},
    {"recurd-bench", bench, ARRAY_LEN(bench), "report"},
    {"recurd-eval", eval, ARRAY_LEN(eval), NULL},
    {"recurd-state", state, ARRAY_LEN(state), "ls check show rekey reseal prune"},
    {"recurd-convert", convert, ARRAY_LEN(convert), NULL},
};

const struct program *tables_program(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(programs); i++)
        if (strcmp(programs[i].name, name) == 0)
            return &programs[i];
    return NULL;
}

const struct key_limit key_limits[] = {
#define KEYLIMIT(name, word, max, sentence) {word, max, sentence},
#include "server/process/keylimit.def"
#undef KEYLIMIT
};
const size_t n_key_limits = ARRAY_LEN(key_limits);

const struct exit_code exit_codes[] = {
#define EXIT(name, code, sentence) {code, sentence},
#include "server/process/exit.def"
#undef EXIT
};
const size_t n_exit_codes = ARRAY_LEN(exit_codes);

const char *row_name(const struct row *r, bool dashes, char out[ROW_NAME])
{
    if (r->kind != ROW_KEY) {
        snprintf(out, ROW_NAME, "%s", r->name + (dashes ? 0 : strspn(r->name, "-")));
        return out;
    }
    snprintf(out, ROW_NAME, "%s%s", dashes ? "--" : "", r->name);
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = '-';
    return out;
}
