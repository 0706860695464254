/* The command line. Read-only after args_parse. Thread: any. */
#ifndef RECURD_LOAD_ARGS_H
#define RECURD_LOAD_ARGS_H

#include <jansson.h>

#include "base/err.h"
#include "programs/recurd-bench/dist.h"
#include "programs/recurd-bench/schedule.h"

#define ARGS_LIST 32 /* repeats of one option */

struct arg_list {
    const char *v[ARGS_LIST];
    int n;
};

enum slo_metric { SLO_TTFT, SLO_TTST, SLO_ITL, SLO_TPOT, SLO_E2E, SLO_METRICS };

/* Owner: main. Strings are those of argv, except host and base. */
struct args {
#define ARG_STR const char *
#define ARG_LIST struct arg_list
#define ARG_FLAG bool
#define ARG_INT int64_t
#define ARG_REAL double
#define SECTION(title)
#define ARG(field, kind, def, meta, help) ARG_##kind field;
#include "programs/recurd-bench/args.def"
#undef ARG
#undef SECTION
    /* what the texts above mean */
    char host[256], port[6], base[256]; /* base: path prefix without the last slash */
    bool chat, text;                    /* prompts are sent as text */
    bool closed;
    bool fixed_output;                  /* --output-tokens was given */
    enum arrival arrivals;
    struct ramp ramp_parsed;
    struct dist in_dist, later_dist, out_dist, turns_dist, think_dist;
    int32_t vocab_lo, vocab_hi;
    json_t *extra;             /* NULL or an object */
    double slo_ms[SLO_METRICS]; /* 0 = none */
    uint64_t salt_key;
};

/* 0; 1: --help or --version was answered, exit with 0; or a code with a sentence. */
int args_parse(struct args *a, int argc, char **argv, struct err *e) MUST_USE;
void args_free(struct args *a);

/* Everything but secrets, as an object; the caller owns it. NULL = no memory. */
json_t *args_json(const struct args *a);

const char *args_slo_name(enum slo_metric m);

#endif
