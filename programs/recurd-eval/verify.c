/* See verify.h. One sequence, from its first token: all tokens are known, so the answer is computed
 * as a prompt is. Its draws are made again on the host, by the definition (kernels/sample.h). */
#include "programs/recurd-eval/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "scheduler/sched.h"
#include "scheduler/seq.h"
#include "server/api/receipt_in.h"

#define STEP_TOKENS 256
#define LOGIT_BYTES MIB(64) /* of a step */

struct verifier {
    struct model *m;
    struct device *d;
    struct capacity cap;
    struct sampler sampler;
    int32_t *rows, *pages; /* [cap.tokens], [cap.pages_per_seq] */
};

/* What is computed of one receipt. */
struct chain {
    const struct receipt *x;
    int number;
    unsigned char link[BLAKE3_OUT];
    int64_t i;    /* output tokens whose link was made */
    struct seq q; /* draws them again; q.r NULL = they are not */
};

/* ---- sentences ---------------------------------------------------------------------------- */

static enum verdict none(int number, const struct err *e)
{
    printf("%d: cannot be verified: %s\n", number, e->text);
    return VERDICT_NONE;
}

static void say_hex(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", p[i]);
}

static enum verdict differs(int number, const char *what, const unsigned char *is,
                            const unsigned char *told, size_t n)
{
    printf("%d: differs: %s is ", number, what);
    say_hex(is, n);
    printf(", the receipt has ");
    say_hex(told, n);
    printf("\n");
    return VERDICT_DIFFERS;
}

/* ---- without the model -------------------------------------------------------------------- */

/* The head covers prompt, sampling and origin: it alone tells whether they were changed. */
static enum verdict check_head(int number, const struct receipt *x)
{
    unsigned char head[BLAKE3_OUT];
    receipt_head(x, x->tokens, head);
    if (memcmp(head, x->head, sizeof head) != 0)
        return differs(number, "the head, of the prompt, the sampling and what computed,", head,
                       x->head, sizeof head);
    const unsigned char *last = x->n_output ? x->links + (x->n_output - 1) * RECEIPT_LINK : x->head;
    if (memcmp(last, x->digest, RECEIPT_LINK) != 0)
        return differs(number, "the last link", last, x->digest, RECEIPT_LINK);
    return VERDICT_EQUAL;
}

/* ---- the answer --------------------------------------------------------------------------- */

/* What the receipt's request asked of the sampler. The caller's. */
static struct request *as_request(const struct receipt *x)
{
    struct request *r = request_new();
    if (!r)
        return NULL;
    r->prompt = mem_array((size_t)x->n_prompt, sizeof *r->prompt);
    struct sample_edit *bias = mem_array((size_t)x->sampling.n_bias, sizeof *bias);
    if (!r->prompt || !bias) {
        mem_free(bias);
        request_unref(r);
        return NULL;
    }
    memcpy(r->prompt, x->tokens, (size_t)x->n_prompt * sizeof *r->prompt);
    if (x->sampling.n_bias)
        memcpy(bias, x->sampling.bias, (size_t)x->sampling.n_bias * sizeof *bias);
    r->sampling = x->sampling;
    r->sampling.bias = bias;
    r->n_prompt = (int32_t)x->n_prompt;
    r->max_tokens = (int32_t)x->n_output;
    return r;
}

static int draws_begin(struct verifier *v, struct chain *c, const struct piece_source *pieces,
                       struct err *e)
{
    const struct receipt *x = c->x;
    c->q = (struct seq){.slot = -1};
    if (x->constrained)
        return 0;
    struct request *r = as_request(x);
    if (!r)
        return err_set(e, E_NOMEM, "no memory for %" PRId64 " tokens", x->n_prompt + x->n_output);
    return seq_begin(&c->q, r, v->m->plan.vocab, pieces, x->n_prompt + x->n_output, e);
}

/* False: another token is drawn, which is said. */
static bool draw(struct verifier *v, struct chain *c, const float *logits, struct err *e)
{
    const struct receipt *x = c->x;
    int32_t id = x->tokens[x->n_prompt + c->i];
    struct sample_result told;
    seq_shape(&c->q);
    struct sample_row row = seq_row(&c->q);
    row.banned = x->ends;
    row.n_banned = c->i < x->min_tokens ? x->n_ends : 0;
    sample_choose(&v->sampler, logits, &row, &told);
    if (sample_check(told.status, v->m->plan.vocab, e))
        return false;
    if (told.id != id) {
        printf("%d: differs: output token %" PRId64 " of %" PRId64 " (position %" PRId64 "): %d is "
               "drawn, the receipt has %d\n", c->number, c->i + 1, x->n_output,
               x->n_prompt + c->i, (int)told.id, (int)id);
        return false;
    }
    if (seq_push(&c->q, id, e))
        return false;
    seq_drawn(&c->q, &told);
    return true;
}

/* The row that the next output token was drawn from. False: it is not, which is said or in e. */
static bool take_row(struct verifier *v, struct chain *c, const float *logits, struct err *e)
{
    const struct receipt *x = c->x;
    const unsigned char *told = x->links + c->i * RECEIPT_LINK;
    char where[96];
    receipt_link(c->link, logits, x->origin.vocab, x->tokens[x->n_prompt + c->i]);
    if (memcmp(c->link, told, RECEIPT_LINK) != 0) {
        snprintf(where, sizeof where, "output token %" PRId64 " of %" PRId64 " (position %" PRId64
                 "): its link", c->i + 1, x->n_output, x->n_prompt + c->i);
        (void)differs(c->number, where, c->link, told, RECEIPT_LINK);
        return false;
    }
    if (c->q.r && !draw(v, c, logits, e))
        return false;
    c->i++;
    return true;
}

/* A step of n tokens from pos on; those whose logits an output token was drawn from have a row.
 * False as take_row, or the device failed. */
static bool step(struct verifier *v, struct chain *c, int64_t pos, int32_t n, struct err *e)
{
    const struct receipt *x = c->x;
    int32_t cu[2] = {0, n}, slot = 0, n_rows = 0;
    for (int32_t i = 0; i < n; i++)
        if (pos + i >= x->n_prompt - 1)
            v->rows[n_rows++] = i;
    struct batch b = {.n_seqs = 1, .n_tokens = n, .n_logits = n_rows, .tokens = x->tokens + pos,
                      .cu_seqlens = cu, .slots = &slot, .pos = &pos, .logit_rows = v->rows,
                      .pages = v->pages, .pages_per_seq = v->cap.pages_per_seq};
    if (v->d->backend->run(v->d, &b, e))
        return false;
    for (int32_t i = 0; i < n_rows; i++) {
        const float *logits;
        if (v->d->backend->logits(v->d, i, &logits, e) || !take_row(v, c, logits, e))
            return false;
    }
    return true;
}

static bool compute(struct verifier *v, struct chain *c, struct err *e)
{
    const struct receipt *x = c->x;
    int64_t all = x->n_output ? x->n_prompt + x->n_output - 1 : 0; /* nobody saw the last one's */
    if (v->d->backend->slot_zero(v->d, 0, e))
        return false;
    memcpy(c->link, x->head, sizeof c->link);
    for (int64_t at = 0; at < all;) {
        int32_t n = (int32_t)MIN((int64_t)v->cap.tokens, all - at);
        if (!step(v, c, at, n, e))
            return false;
        at += n;
    }
    return true;
}

static int check_origin(const struct verifier *v, const struct receipt *x, struct err *e)
{
    const char *numerics = v->d->backend->numerics(v->d);
    char theirs[17], mine[17];
    for (int i = 0; i < 8; i++) {
        snprintf(theirs + 2 * i, 3, "%02x", x->origin.model[i]);
        snprintf(mine + 2 * i, 3, "%02x", v->m->fingerprint[i]);
    }
    if (memcmp(x->origin.model, v->m->fingerprint, sizeof x->origin.model) != 0)
        return err_set(e, E_CONFLICT, "the answer is of model %s…, this is %s…", theirs, mine);
    if (strcmp(x->origin.numerics, numerics) != 0)
        return err_set(e, E_CONFLICT, "the arithmetic was \"%.150s\", this is \"%.150s\"",
                       x->origin.numerics, numerics);
    if (x->origin.vocab != v->m->plan.vocab)
        return err_set(e, E_CONFLICT, "the vocabulary has %d tokens, this one's has %d",
                       (int)x->origin.vocab, (int)v->m->plan.vocab);
    return 0;
}

static enum verdict check(struct verifier *v, const struct receipt *x, int number)
{
    struct chain c = {.x = x, .number = number};
    struct err e = {0};
    struct piece_source pieces = sched_pieces(v->m);
    if (check_origin(v, x, &e) || draws_begin(v, &c, &pieces, &e))
        return none(number, &e);
    bool equal = compute(v, &c, &e), drawn = c.q.r != NULL;
    if (drawn)
        seq_end(&c.q);
    if (e.code)
        return none(number, &e);
    if (!equal)
        return VERDICT_DIFFERS;
    if (memcmp(c.link, x->digest, sizeof c.link) != 0)
        return differs(number, "the digest", c.link, x->digest, sizeof c.link);
    printf("%d: equal: %" PRId64 " prompt tokens, the logits of %" PRId64 " output tokens%s\n",
           number, x->n_prompt, x->n_output,
           drawn ? ", their draws" : "; their draws followed a definition that is not told");
    return VERDICT_EQUAL;
}

/* ---- the model ---------------------------------------------------------------------------- */

/* longest: tokens of a receipt. */
static int load(struct verifier *v, const struct verify_options *o, int64_t longest, struct err *e)
{
    struct model_options mo = {.dir = o->model, .dummy = o->dummy, .quantize = o->quantize,
                               .states = o->states};
    int rc = model_open(&v->m, &mo, e);
    if (rc)
        return rc;
    if (v->m->context_max > 0 && longest > v->m->context_max)
        return err_set(e, E_RANGE, "the text has %" PRId64 " tokens, the model ends after %" PRId64,
                       longest, v->m->context_max);
    int64_t row = (int64_t)sizeof(float) * v->m->plan.vocab;
    int32_t step = (int32_t)MAX(MIN(o->chunk > 0 ? o->chunk : STEP_TOKENS,
                                    (int64_t)LOGIT_BYTES / row), 1);
    int32_t pages = v->m->plan.page_token_floats ? (int32_t)(longest / PAGE_TOKENS + 1) : 0;
    v->cap = (struct capacity){.tokens = step, .logits = step, .seqs = 1, .slots = 1,
                               .pages = pages, .pages_per_seq = pages};
    v->rows = mem_array((size_t)step, sizeof *v->rows);
    v->pages = mem_array((size_t)pages + 1, sizeof *v->pages);
    if (!v->rows || !v->pages)
        return err_set(e, E_NOMEM, "no memory for steps of %d tokens", (int)step);
    for (int32_t i = 0; i < pages; i++)
        v->pages[i] = i;
    rc = sample_init(&v->sampler, v->m->plan.vocab, e);
    if (!rc)
        rc = device_open(&v->d, &o->device, e);
    return rc ? rc : model_load(v->m, v->d, &v->cap, e);
}

static void unload(struct verifier *v)
{
    sample_fini(&v->sampler);
    if (v->d)
        v->d->backend->close(v->d);
    model_close(v->m);
    mem_free(v->rows);
    mem_free(v->pages);
}

/* ---- files -------------------------------------------------------------------------------- */

static int read_stdin(struct buf *out, struct err *e)
{
    char piece[4096];
    for (ssize_t n; (n = read(0, piece, sizeof piece)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, E_IO, "standard input cannot be read: %s", strerror(errno));
        if (buf_add(out, piece, (size_t)n))
            return err_set(e, E_RANGE, "standard input has more than %zu bytes", out->max);
    }
    return 0;
}

/* --tokens, for a receipt that does not tell them. */
static int get_tokens(struct receipt *x, const char *path, struct err *e)
{
    struct buf text;
    json_t *a = NULL;
    if (x->tokens)
        return 0;
    if (!path)
        return err_set(e, E_CONFLICT, "it does not hold the tokens: --tokens must name a file with "
                       "the %" PRId64 " ids of prompt and answer", x->n_prompt + x->n_output);
    buf_init(&text, RECEIPT_FILE_BYTES);
    int rc = file_read(path, &text, e);
    if (!rc)
        a = json_loadb(text.p ? text.p : "", text.len, 0, NULL);
    int64_t n = (int64_t)json_array_size(a);
    if (!rc && n != x->n_prompt + x->n_output)
        rc = err_set(e, E_FORMAT, "%s: %" PRId64 " ids, the receipt is of %" PRId64, path, n,
                     x->n_prompt + x->n_output);
    if (!rc && !(x->tokens = mem_array((size_t)n + 1, sizeof *x->tokens)))
        rc = err_set(e, E_NOMEM, "no memory for %" PRId64 " tokens", n);
    if (!rc)
        rc = receipt_ids(a, path, n, x->origin.vocab, x->tokens, e);
    json_decref(a);
    buf_free(&text);
    return rc;
}

struct one {
    struct receipt *x;
    enum verdict verdict;
};

/* Reads each and looks at what needs no model. *longest: tokens of those that do. */
static void read_all(struct one *all, const json_t *const *list, int n, const char *tokens,
                     int64_t *longest)
{
    for (int i = 0; i < n; i++) {
        struct err e = {0};
        if (receipt_read(&all[i].x, list[i], &e) || get_tokens(all[i].x, tokens, &e))
            all[i].verdict = none(i + 1, &e);
        else
            all[i].verdict = check_head(i + 1, all[i].x);
        if (all[i].verdict == VERDICT_EQUAL)
            *longest = MAX(*longest, all[i].x->n_prompt + all[i].x->n_output);
    }
}

enum verdict verify(const struct verify_options *o, struct err *e)
{
    const json_t *list[LIMIT_CHOICES];
    struct one all[LIMIT_CHOICES] = {0};
    struct verifier v = {0};
    enum verdict worst = VERDICT_EQUAL;
    json_t *root = NULL;
    struct buf text;
    int n = 0;
    int64_t longest = 0;
    buf_init(&text, RECEIPT_FILE_BYTES);
    int rc = strcmp(o->file, "-") ? file_read(o->file, &text, e) : read_stdin(&text, e);
    if (!rc && (rc = receipt_find(text.p ? text.p : "", text.len, &root, list, &n, e)))
        err_wrap(e, "%s", o->file);
    buf_free(&text);
    if (!rc)
        read_all(all, list, n, o->tokens, &longest);
    json_decref(root);
    if (!rc && longest)
        rc = load(&v, o, longest, e);
    for (int i = 0; i < n; i++) {
        if (!rc && all[i].verdict == VERDICT_EQUAL)
            all[i].verdict = check(&v, all[i].x, i + 1);
        worst = MAX(worst, all[i].verdict);
        receipt_free(all[i].x);
    }
    unload(&v);
    return rc ? VERDICT_NONE : worst;
}
