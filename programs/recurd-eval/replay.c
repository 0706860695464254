/* See replay.h. One request after the other through a scheduler of one slot; the record that the
 * engine keeps of it is compared with the one in the file. */
#include "programs/recurd-eval/replay.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "models/model.h"
#include "scheduler/sched.h"
#include "server/api/receipt_in.h"

#define STEP_TOKENS 512
#define POLL_US 200

struct player {
    struct model *m;
    struct device *d;
    struct sched *s;
    struct trace_record *got; /* of the request that ended last */
    pthread_mutex_t lock;     /* of got */
};

static void keep(void *arg, struct trace_record *x)
{
    struct player *p = arg;
    pthread_mutex_lock(&p->lock);
    p->got = x;
    pthread_mutex_unlock(&p->lock);
}

/* ---- a line as a request ------------------------------------------------------------------ */

static int get_int(const json_t *o, const char *key, int32_t *out, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    json_int_t x = json_integer_value(v);
    if (!json_is_integer(v) || x < INT32_MIN || x > INT32_MAX)
        return err_set(e, E_FORMAT, "%s is not an integer", key);
    *out = (int32_t)x;
    return 0;
}

/* Appends the ids of an array; digests are strings. */
static int get_ids(const json_t *o, const char *key, int32_t vocab, int32_t *out, size_t max,
                   struct err *e)
{
    const json_t *a = json_object_get(o, key);
    if (json_is_string(a))
        return err_set(e, E_UNSUPPORTED, "%s: the trace has digests, and only ids can be replayed",
                       key);
    if (!json_is_array(a) || json_array_size(a) > max)
        return err_set(e, E_FORMAT, "%s: not an array of at most %zu token ids", key, max);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *v = json_array_get(a, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= vocab)
            return err_set(e, E_RANGE, "%s: entry %zu is not a token id of 0 to %d", key, i,
                           (int)vocab - 1);
        out[i] = (int32_t)id;
    }
    return 0;
}

static size_t size_of(const json_t *o, const char *key)
{
    return json_array_size(json_object_get(o, key)); /* 0 for what is no array */
}

/* The prompt is what the session said before and what was asked; it ends after as many tokens as
 * were drawn, so that stop strings need not be looked for. */
static int fill(struct request *r, const json_t *line, int32_t vocab, struct err *e)
{
    size_t context = size_of(line, "context"), prompt = size_of(line, "prompt");
    int32_t n_context, stops;
    if (!json_is_true(json_object_get(line, "whole")))
        return err_set(e, E_UNSUPPORTED, "the trace does not hold all of this answer");
    int rc = get_int(line, "n_context", &n_context, e);
    if (!rc && n_context != (int64_t)context && !json_is_string(json_object_get(line, "context")))
        return err_set(e, E_FORMAT, "context: %zu ids, %d are needed", context, (int)n_context);
    if (rc || context + prompt > INT32_MAX)
        return rc ? rc : err_set(e, E_RANGE, "a prompt of %zu tokens", context + prompt);
    r->prompt = mem_array(context + prompt, sizeof *r->prompt);
    if (!r->prompt)
        return err_set(e, E_NOMEM, "no memory for %zu tokens", context + prompt);
    r->n_prompt = (int32_t)(context + prompt);
    r->max_tokens = (int32_t)size_of(line, "output");
    r->ignore_eos = json_is_true(json_object_get(line, "ignore_eos"));
    r->prompt_logprobs = json_is_true(json_object_get(line, "prompt_logprobs"));
    r->n_stop_ids = (int32_t)MIN(size_of(line, "stop_ids"), LIMIT_STOP_IDS);
    if (n_context)
        rc = get_ids(line, "context", vocab, r->prompt, context, e);
    if (!rc)
        rc = get_ids(line, "prompt", vocab, r->prompt + context, prompt, e);
    if (!rc)
        rc = get_ids(line, "stop_ids", vocab, r->stop_ids, LIMIT_STOP_IDS, e);
    if (!rc)
        rc = get_int(line, "min_tokens", &r->min_tokens, e);
    if (!rc)
        rc = get_int(line, "logprobs", &r->logprobs, e);
    if (!rc)
        rc = get_int(line, "stops", &stops, e);
    return rc ? rc : sampling_read(json_object_get(line, "sampling"), vocab, &r->sampling, e);
}

/* ---- running ------------------------------------------------------------------------------ */

/* Takes events and text until the end. Returns the end's error code. */
static int drain(struct player *p, struct request *r, struct err *e)
{
    struct token_event ev;
    for (;;) {
        pthread_mutex_lock(&r->lock);
        while (ring_pop(&r->events, &ev))
            ;
        buf_clear(&r->text);
        enum finish end = r->finish;
        if (end == FINISH_ERROR && e)
            *e = r->error;
        pthread_mutex_unlock(&r->lock);
        if (end != FINISH_NONE)
            return end == FINISH_ERROR ? e->code : 0;
        sched_kick(p->s);
        usleep(POLL_US);
    }
}

/* *out: the engine's record of the request; the caller's. */
static int play(struct player *p, struct request *r, struct trace_record **out, struct err *e)
{
    int rc = sched_submit(p->s, r, e);
    *out = NULL;
    if (rc)
        return rc;
    rc = drain(p, r, e);
    pthread_mutex_lock(&p->lock);
    *out = p->got;
    p->got = NULL;
    pthread_mutex_unlock(&p->lock);
    if (!rc && !*out)
        rc = err_set(e, E_NOMEM, "no memory to keep the answer");
    return rc;
}

/* ---- comparing ---------------------------------------------------------------------------- */

/* The i-th group of 8 digits; false = there is none. */
static bool bits_at(const char *hex, size_t i, uint32_t *out)
{
    char digits[9] = "";
    if (strlen(hex) < (i + 1) * 8)
        return false;
    memcpy(digits, hex + i * 8, 8);
    *out = (uint32_t)strtoul(digits, NULL, 16);
    return true;
}

/* Index of the first logprob that differs; -1 = none. */
static int64_t compare_bits(const json_t *line, const char *key, const uint32_t *bits, int64_t n)
{
    const char *hex = json_string_value(json_object_get(line, key));
    uint32_t want = 0;
    for (int64_t i = 0; hex && i < n; i++)
        if (!bits_at(hex, (size_t)i, &want) || want != bits[i])
            return i;
    return -1;
}

static float as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static bool say_bits(int number, const json_t *line, const char *key, const char *what,
                     const uint32_t *bits, int64_t n)
{
    int64_t i = compare_bits(line, key, bits, n);
    uint32_t want = 0;
    if (i < 0)
        return true;
    (void)bits_at(json_string_value(json_object_get(line, key)), (size_t)i, &want);
    printf("%d: differs: logprob of %s token %" PRId64 " is %.9g (%08" PRIx32
           "), the trace has %.9g (%08" PRIx32 ")\n", number, what, i, (double)as_float(bits[i]),
           bits[i], (double)as_float(want), want);
    return false;
}

static bool compare(int number, const json_t *line, const struct trace_record *x)
{
    const json_t *want = json_object_get(line, "output");
    size_t n = json_array_size(want);
    for (size_t i = 0; i < MAX(n, (size_t)x->n_output); i++) {
        json_int_t id = i < n ? json_integer_value(json_array_get(want, i)) : -1;
        int got = i < (size_t)x->n_output ? x->output[i] : -1;
        if (id == got)
            continue;
        printf("%d: differs: output token %zu of %zu is %d, the trace has %d\n", number, i, n, got,
               (int)id);
        return false;
    }
    int64_t before = (int64_t)size_of(line, "context"); /* of it a session echoes nothing */
    if (!say_bits(number, line, "logprob_bits", "output", x->bits, x->n_output) ||
        (x->n_prompt_bits > before &&
         !say_bits(number, line, "prompt_logprob_bits", "prompt", x->prompt_bits + before,
                   x->n_prompt_bits - before)))
        return false;
    printf("%d: equal: %zu prompt tokens, %zu output tokens%s\n", number,
           size_of(line, "context") + size_of(line, "prompt"), n,
           json_object_get(line, "logprob_bits") ? ", their logprobs" : "");
    return true;
}

/* ---- the file ----------------------------------------------------------------------------- */

static int check_origin(const struct player *p, const json_t *line, struct err *e)
{
    char print[65];
    const char *want = json_string_value(json_object_get(line, "fingerprint"));
    const char *numerics = json_string_value(json_object_get(line, "numerics"));
    const char *mine = p->d->backend->numerics(p->d);
    for (int i = 0; i < 32; i++)
        snprintf(print + 2 * i, 3, "%02x", p->m->fingerprint[i]);
    if (!want || strcmp(want, print) != 0)
        return err_set(e, E_CONFLICT, "the answer is of model %.16s, this is %.16s",
                       want ? want : "?", print);
    if (!numerics || strcmp(numerics, mine) != 0)
        printf("note: computed by the arithmetic \"%s\", replayed by \"%s\"\n",
               numerics ? numerics : "?", mine);
    return 0;
}

/* False: it is not the same, which is said. */
static int one(struct player *p, int number, const json_t *line, bool *same, struct err *e)
{
    struct trace_record *x = NULL;
    struct err why = {0};
    *same = false;
    int rc = check_origin(p, line, e);
    if (rc)
        return rc;
    struct request *r = request_new();
    if (!r)
        return err_set(e, E_NOMEM, "no memory for a request");
    rc = fill(r, line, p->m->plan.vocab, &why);
    if (!rc)
        rc = play(p, r, &x, &why);
    if (rc)
        printf("%d: cannot be replayed: %s\n", number, why.text);
    else
        *same = compare(number, line, x);
    trace_free(x);
    request_unref(r);
    return 0;
}

static int each_line(struct player *p, const char *path, int *differ, struct err *e)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t cap = 0;
    int rc = 0, number = 0;
    if (!f)
        return err_set(e, E_IO, "%s cannot be opened", path);
    for (ssize_t n; !rc && (n = getline(&text, &cap, f)) > 0;) {
        json_error_t je;
        json_t *line = json_loadb(text, (size_t)n, 0, &je);
        bool same = false;
        number++;
        json_int_t version = json_integer_value(json_object_get(line, "trace"));
        if (!json_is_object(line) || version < 1 || version > 2)
            rc = err_set(e, E_FORMAT, "%s, line %d: not a line of a trace", path, number);
        else
            rc = one(p, number, line, &same, e);
        *differ += !same;
        json_decref(line);
    }
    free(text);
    fclose(f);
    return rc;
}

int replay(const struct replay_options *o, int *differ, struct err *e)
{
    struct player p = {0};
    struct model_options mo = {.dir = o->model, .dummy = o->dummy, .quantize = o->quantize,
                               .states = o->states};
    int32_t step = o->chunk > 0 ? o->chunk : STEP_TOKENS;
    *differ = 0;
    pthread_mutex_init(&p.lock, NULL);
    int rc = model_open(&p.m, &mo, e);
    int32_t pages = 0;
    if (!rc && p.m->plan.page_token_floats) {
        int64_t context = p.m->context_max > 0 ? MIN(p.m->context_max, 1 << 20) : 8192;
        pages = (int32_t)((context + PAGE_TOKENS - 1) / PAGE_TOKENS);
    }
    struct capacity cap = {.tokens = step, .logits = step, .seqs = 1, .slots = 1,
                           .pages = pages, .pages_per_seq = pages};
    struct sched_options so = {.slots = 1, .queue = 1, .step_tokens = step, .logit_rows = step,
                               .trace = {keep, &p}, .pages = pages, .pages_per_seq = pages};
    if (!rc)
        rc = device_open(&p.d, &o->device, e);
    if (!rc)
        rc = model_load(p.m, p.d, &cap, e);
    if (!rc)
        rc = sched_open(&p.s, p.m, p.d, &so, e);
    if (!rc)
        rc = each_line(&p, o->trace, differ, e);
    sched_close(p.s);
    trace_free(p.got);
    if (p.d)
        p.d->backend->close(p.d);
    model_close(p.m);
    pthread_mutex_destroy(&p.lock);
    return rc;
}
