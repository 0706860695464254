/* Correctness under load: the same requests alone and at concurrency N. Thread: one. */
#include "base/version.h"
#include "programs/recurd-bench/verify.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "programs/recurd-bench/reply.h"

#define SAMPLES_MAX 20 /* differences printed in full */

/* The record of (conversation, turn), or NULL: runs record in the order of sending. */
static int by_place(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->conv != y->conv)
        return x->conv < y->conv ? -1 : 1;
    return (x->turn > y->turn) - (x->turn < y->turn);
}

/* The line of a list of tokens at which two replies part; *at counts from 0. */
static void first_difference(const char *a, const char *b, int *at, json_t *into)
{
    *at = 0;
    for (;;) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || memcmp(a, b, n)) {
            json_object_set_new(into, "alone", json_stringn_nocheck(a, MIN(n, 200)));
            json_object_set_new(into, "together", json_stringn_nocheck(b, MIN(m, 200)));
            return;
        }
        if (!a[n] || !b[m])
            return;
        a += n + 1;
        b += m + 1;
        ++*at;
    }
}

static const char *text_of(const struct buf *b)
{
    return b->p ? b->p : "";
}

/* NULL when equal, else a description. */
static json_t *compare(const struct record *a, const struct record *b)
{
    const struct capture *x = a->cap_text, *y = b->cap_text;
    if (!x || !y)
        return json_pack("{ss}", "what", "a reply was not kept");
    json_t *d = NULL;
    int at = 0;
    if (strcmp(text_of(&x->tokens), text_of(&y->tokens))) {
        d = json_pack("{ss}", "what", "tokens or logprobs");
        first_difference(text_of(&x->tokens), text_of(&y->tokens), &at, d);
        json_object_set_new(d, "token", json_integer(at));
    } else if (strcmp(text_of(&x->ids), text_of(&y->ids))) {
        d = json_pack("{ss}", "what", "token ids");
        json_object_set_new(d, "alone", json_string(text_of(&x->ids)));
        json_object_set_new(d, "together", json_string(text_of(&y->ids)));
    } else if (x->text.len != y->text.len ||
               memcmp(text_of(&x->text), text_of(&y->text), x->text.len)) {
        d = json_pack("{ss}", "what", "text");
        json_object_set_new(d, "alone", json_string(text_of(&x->text)));
        json_object_set_new(d, "together", json_string(text_of(&y->text)));
    } else if (strcmp(a->finish, b->finish)) {
        d = json_pack("{ss ss ss}", "what", "finish reason", "alone", a->finish, "together",
                      b->finish);
    }
    if (d)
        json_object_update_new(d, json_pack("{sI si}", "request", (json_int_t)a->conv, "turn",
                                            (int)a->turn));
    return d;
}

struct tally {
    json_int_t compared, mismatches, failed, tokens, logprobs, ids;
    json_t *samples;
};

static void compare_runs(struct run *alone, struct run *together, int round, struct tally *t)
{
    qsort(together->records.p, together->records.n, sizeof *together->records.p, by_place);
    for (size_t i = 0, k = 0; i < alone->records.n; i++) {
        const struct record *a = &alone->records.p[i], *b = NULL;
        while (k < together->records.n && by_place(&together->records.p[k], a) < 0)
            k++;
        if (k < together->records.n && !by_place(&together->records.p[k], a))
            b = &together->records.p[k];
        if (a->outcome != OUTCOME_OK || !b || b->outcome != OUTCOME_OK) {
            t->failed++;
            continue;
        }
        t->compared++;
        t->tokens += record_tokens(a);
        t->logprobs += a->cap_text ? a->cap_text->n_lines : 0;
        t->ids += a->cap_text && a->cap_text->ids.len;
        json_t *d = compare(a, b);
        if (!d)
            continue;
        t->mismatches++;
        json_object_set_new(d, "round", json_integer(round));
        if (json_array_size(t->samples) < SAMPLES_MAX)
            json_array_append(t->samples, d);
        json_decref(d);
    }
}

static void shuffle(uint32_t *order, size_t n, uint64_t seed)
{
    struct rng r = {.seed = seed};
    for (size_t i = 0; i < n; i++) {
        size_t k = rng_below(&r, i + 1);
        order[i] = order[k];
        order[k] = (uint32_t)i;
    }
}

static json_t *verdict(const struct bench *b, const struct plan *p, const struct tally *t)
{
    json_t *o = json_pack("{ss+ ss ss ss}", "tool", "recurd-bench ", version_number(),
                          "commit", version_commit(), "kind", "verify", "label",
                          b->a->label ? b->a->label : "verify");
    json_object_update_new(
        o, json_pack("{sI si sI sI sI sI sI sI}", "concurrency", (json_int_t)p->concurrency,
                     "rounds", (int)b->a->verify_rounds, "replies_compared", t->compared,
                     "mismatches", t->mismatches, "failed", t->failed, "tokens_compared",
                     t->tokens, "logprob_rows_compared", t->logprobs, "replies_with_ids", t->ids));
    json_object_set(o, "samples", t->samples);
    json_object_set_new(o, "server", json_pack("{ss ss sO?}", "url", b->a->url, "model",
                                               b->server.model, "version", b->server.version));
    json_object_set_new(o, "machine", machine_json());
    json_object_set_new(o, "config", args_json(b->a));
    return o;
}

int verify_run(struct bench *b, json_t **out, struct err *e)
{
    size_t n = b->a->requests ? (size_t)b->a->requests : 32; /* a batch and its queue */
    struct plan plan = {.closed = true, .concurrency = 1, .requests = n, .capture = true,
                        .progress = b->a->progress};
    struct run alone, together;
    struct tally t = {.samples = json_array()};
    uint32_t *order = mem_array(n, sizeof *order);
    *out = NULL;
    if (!order || !t.samples) {
        mem_free(order);
        json_decref(t.samples);
        return err_set(e, E_NOMEM, "no memory for the order of %zu requests", n);
    }
    int rc = load_run(&b->pool, &b->w, b->server.model, &plan, &alone, e);
    qsort(alone.records.p, alone.records.n, sizeof *alone.records.p, by_place);
    plan.concurrency = b->a->concurrency > 1 ? b->a->concurrency : 16;
    plan.order = order;
    for (int64_t round = 0; round < b->a->verify_rounds && !rc; round++) {
        shuffle(order, n, (uint64_t)b->a->seed + (uint64_t)round + 1);
        rc = load_run(&b->pool, &b->w, b->server.model, &plan, &together, e);
        if (!rc)
            compare_runs(&alone, &together, (int)round, &t);
        run_free(&together);
        if (load_interrupted() && !rc)
            rc = err_set(e, E_CLOSED, "interrupted");
    }
    if (!rc && !(*out = verdict(b, &plan, &t)))
        rc = err_set(e, E_NOMEM, "no memory for the verdict");
    run_free(&alone);
    mem_free(order);
    json_decref(t.samples);
    return rc;
}

void verify_text(FILE *f, const json_t *v)
{
    static const struct { const char *title, *path; } rows[] = {
        {"replies compared", "replies_compared"},
        {"tokens compared", "tokens_compared"},
        {"rows of logprobs compared", "logprob_rows_compared"},
        {"replies with token ids", "replies_with_ids"},
        {"replies that failed", "failed"},
        {"replies that differ", "mismatches"},
    };
    fprintf(f, "%s: %s, model %s, alone and at concurrency %.0f\n\n", report_string(v, "label"),
            report_string(v, "server.url"), report_string(v, "server.model"),
            report_number(v, "concurrency"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        fprintf(f, "  %-34s %14.0f\n", rows[i].title, report_number(v, rows[i].path));
    size_t i;
    json_t *d;
    json_array_foreach(json_object_get(v, "samples"), i, d)
        fprintf(f, "  request %.0f turn %.0f: %s differ\n    alone    %s\n    together %s\n",
                report_number(d, "request"), report_number(d, "turn"), report_string(d, "what"),
                report_string(d, "alone"), report_string(d, "together"));
    bool same = report_number(v, "mismatches") == 0 && report_number(v, "failed") == 0;
    fprintf(f, "\n%s\n", same ? "identical" : "NOT IDENTICAL");
}
