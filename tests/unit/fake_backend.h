/* A device whose logits are a hash of the tokens a slot has seen: a wrong slot, a wrong position,
 * a state that was not zeroed or a row too many changes every later token. It also checks what
 * the engine promises about a batch, and fails when told to. */
#ifndef RECURD_FAKE_BACKEND_H
#define RECURD_FAKE_BACKEND_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernels/backend.h"

struct fake_state { uint64_t hash; int64_t n; };
#define FAKE_SLOT_FLOATS ((int64_t)(sizeof(struct fake_state) / sizeof(float)))

struct fake {
    struct device base;
    struct plan plan;
    struct capacity c;
    struct fake_state *slots;
    int32_t *pages;       /* [pages][PAGE_TOKENS] token + 1 */
    float *logits;
    bool broken;          /* the engine broke a promise */
    int steps, rows_max;  /* of all steps */
    int32_t last_seqs, last_rows;
    int32_t nan_token;    /* its row is NaN; -1 = none */
    int fail_at;          /* the step that fails, counted down; 0 = none */
    int fail_code;
    int sample_fails, logits_fail; /* codes: every such call fails with it */
    struct sampler sampler;
    uint64_t step_ns, row_ns; /* what a step and each of its rows move the fake clock on … */
    bool behind;              /* … when it is waited for, or the next one runs */
    uint64_t owed_ns;
};

static inline uint64_t fake_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static inline uint64_t fake_next(uint64_t hash, int32_t token)
{
    return fake_mix(hash + UINT64_C(0x9E3779B97F4A7C15) * (uint64_t)(token + 1));
}

static inline void fake_row(uint64_t hash, int32_t vocab, float *out)
{
    for (int32_t v = 0; v < vocab; v++) /* -8 … 8 */
        out[v] = (float)(fake_mix(hash ^ (uint64_t)(v + 1) << 20) >> 40) * 0x1p-20f - 8;
}

static inline void fake_pages(struct fake *f, const struct batch *b, int32_t s, int64_t pos,
                              int32_t token, uint64_t hash)
{
    const int32_t *table = b->pages + (int64_t)s * b->pages_per_seq;
    uint64_t again = 0;
    for (int64_t p = 0; p <= pos; p++) {
        int32_t page = p / PAGE_TOKENS < b->pages_per_seq ? table[p / PAGE_TOKENS] : -1;
        if (page < 0 || page >= f->c.pages) {
            f->broken = true;
            return;
        }
        int32_t *at = &f->pages[(int64_t)page * PAGE_TOKENS + p % PAGE_TOKENS];
        if (p == pos)
            *at = token + 1;
        again = fake_next(again, *at - 1);
    }
    f->broken |= again != hash;
}

static inline void fake_settle(struct fake *f)
{
    if (f->owed_ns)
        clock_fake_set(clock_now_ns() + f->owed_ns);
    f->owed_ns = 0;
}

static inline int fake_run(struct device *d, const struct batch *b, struct err *e)
{
    struct fake *f = (struct fake *)d;
    f->steps++;
    f->last_seqs = b->n_seqs;
    f->last_rows = b->n_tokens;
    f->rows_max = MAX(f->rows_max, b->n_tokens);
    fake_settle(f);
    if (f->step_ns)
        f->owed_ns = f->step_ns + f->row_ns * (uint64_t)b->n_tokens;
    if (!f->behind)
        fake_settle(f);
    if (f->fail_at && --f->fail_at == 0)
        return err_set(e, f->fail_code, "the fake device fails in step %d", f->steps);
    f->broken |= b->n_seqs < 1 || b->n_seqs > f->c.slots || b->n_tokens > f->c.tokens ||
                 b->n_logits > f->c.logits || b->cu_seqlens[b->n_seqs] != b->n_tokens;
    int32_t k = 0;
    for (int32_t s = 0; s < b->n_seqs && !f->broken; s++) {
        struct fake_state *st = &f->slots[b->slots[s]];
        f->broken |= st->n != b->pos[s] || (st->n == 0 && st->hash != 0);
        f->broken |= b->cu_seqlens[s + 1] == b->cu_seqlens[s] + 1 && b->cu_seqlens[s] != s;
        for (int32_t t = 0; t < s; t++)
            f->broken |= b->slots[t] == b->slots[s];
        for (int32_t i = b->cu_seqlens[s]; i < b->cu_seqlens[s + 1]; i++) {
            f->broken |= b->tokens[i] < 0 || b->tokens[i] >= f->plan.vocab;
            st->hash = fake_next(st->hash, b->tokens[i]);
            if (f->c.pages)
                fake_pages(f, b, s, st->n, b->tokens[i], st->hash);
            st->n++;
            if (k == b->n_logits || b->logit_rows[k] != i)
                continue;
            float *row = f->logits + (int64_t)k++ * f->plan.vocab;
            fake_row(st->hash, f->plan.vocab, row);
            if (b->tokens[i] == f->nan_token)
                row[f->plan.vocab / 2] = NAN;
        }
    }
    f->broken |= k != b->n_logits;
    return 0;
}

static inline int fake_logits(struct device *d, int32_t i, const float **out, struct err *e)
{
    struct fake *f = (struct fake *)d;
    if (f->logits_fail)
        return err_set(e, f->logits_fail, "the fake device fails to give its logits");
    *out = f->logits + (int64_t)i * f->plan.vocab;
    return 0;
}

static inline int fake_sample(struct device *d, const struct sample_row *rows, int32_t n,
                              struct sample_result *out, struct err *e)
{
    struct fake *f = (struct fake *)d;
    fake_settle(f);
    if (f->sample_fails)
        return err_set(e, f->sample_fails, "the fake device fails to sample");
    for (int32_t i = 0; i < n; i++)
        sample_choose(&f->sampler, f->logits + (int64_t)rows[i].logits * f->plan.vocab, &rows[i],
                      &out[i]);
    f->broken |= n < 1 || n > f->c.logits;
    return 0;
}

static inline int fake_slot_zero(struct device *d, int32_t slot, struct err *e)
{
    (void)e;
    ((struct fake *)d)->slots[slot] = (struct fake_state){0};
    return 0;
}

static inline int fake_wait(struct device *d, struct err *e)
{
    (void)e;
    fake_settle((struct fake *)d);
    return 0;
}

static const struct backend fake_backend = {.name = "fake", .run = fake_run,
                                            .sample = fake_sample, .logits = fake_logits,
                                            .slot_zero = fake_slot_zero, .wait = fake_wait};

static inline void fake_open(struct fake *f, int32_t vocab, struct capacity c)
{
    *f = (struct fake){.base = {.backend = &fake_backend}, .c = c, .nan_token = -1,
                       .plan = {.vocab = vocab, .slot_floats = FAKE_SLOT_FLOATS,
                                .page_token_floats = c.pages > 0}};
    f->slots = malloc((size_t)c.slots * sizeof *f->slots);
    memset(f->slots, 0xA5, (size_t)c.slots * sizeof *f->slots); /* a slot starts as garbage */
    f->pages = calloc((size_t)MAX(c.pages, 1) * PAGE_TOKENS, sizeof *f->pages);
    if (sample_init(&f->sampler, vocab, NULL))
        abort();
    f->logits = calloc((size_t)c.logits * (size_t)vocab, sizeof *f->logits);
}

static inline void fake_close(struct fake *f)
{
    free(f->slots);
    free(f->pages);
    free(f->logits);
    sample_fini(&f->sampler);
}

#endif
