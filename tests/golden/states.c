/* states: what states in float16 move, of whole models.
 *
 *   states [DIR …]
 *
 * A text of a few hundred tokens by the demo models (random ids by a model without a tokenizer),
 * with states in float32 and in float16: of each token's logits the relative difference, the
 * divergence of what would be sampled, whether the likeliest token is the same; and the perplexity.
 * Exit 1 where a figure of a demo model is above its bound, or where nothing moves at all. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "tests/golden/distance.h"
#include "tests/golden/text.h"

#define PER (TEXT_TOKENS / PAGE_TOKENS + 1)

/* Bounds: of the median and of the worst token's relative difference; of the mean divergence. */
#define MEDIAN 4e-4
#define WORST 3e-3
#define DIVERGENCE 1e-6

static int step(struct device *d, const struct text *x, int32_t per, float *out, struct err *e)
{
    int32_t rows[TEXT_TOKENS], pages[PER], cu[2] = {0, x->n}, slot = 0;
    int64_t pos = 0;
    const float *row;
    for (int32_t i = 0; i < x->n; i++)
        rows[i] = i;
    for (int32_t i = 0; i < PER; i++)
        pages[i] = i;
    struct batch b = {.n_seqs = 1, .n_tokens = x->n, .n_logits = x->n, .tokens = x->ids,
                      .cu_seqlens = cu, .slots = &slot, .pos = &pos, .logit_rows = rows,
                      .pages = pages, .pages_per_seq = per};
    int rc = d->backend->slot_zero(d, 0, e);
    if (!rc)
        rc = d->backend->run(d, &b, e);
    for (int32_t i = 0; i < x->n && !rc; i++)
        if ((rc = d->backend->logits(d, i, &row, e)) == 0)
            memcpy(out + (size_t)i * (size_t)x->vocab, row, (size_t)x->vocab * sizeof *out);
    return rc;
}

/* Logits [n][vocab], which the caller frees; NULL: e tells. */
static float *run(const char *dir, enum states states, struct text *x, struct err *e)
{
    struct model *m = NULL;
    struct device *d = NULL;
    struct model_options mo = {.dir = dir, .states = states};
    struct device_options dopt = {.spec = "cpu"};
    float *out = NULL;
    if (model_open(&m, &mo, e) == 0 && device_open(&d, &dopt, e) == 0 && text_read(m, x, e) == 0) {
        int32_t per = m->plan.page_token_floats ? PER : 0;
        struct capacity cap = {.tokens = x->n, .logits = x->n, .seqs = 1, .slots = 1,
                               .pages = per, .pages_per_seq = per};
        out = mem_array((size_t)x->n * (size_t)x->vocab, sizeof *out);
        if (!out)
            err_set(e, E_NOMEM, "no memory for logits");
        else if (model_load(m, d, &cap, e) || step(d, x, per, out, e)) {
            mem_free(out);
            out = NULL;
        }
    }
    if (d)
        d->backend->close(d);
    model_close(m);
    return out;
}

static bool judge(const char *dir, bool bounded)
{
    struct err e = {0};
    struct text x;
    float *a = run(dir, STATES_F32, &x, &e);
    float *b = a ? run(dir, STATES_F16, &x, &e) : NULL;
    bool ok = false;
    printf("| %s ", dir);
    if (b) {
        struct distance d = distance_of(a, b, x.n, x.vocab);
        ok = d.median > 0 && (!bounded || (d.median <= MEDIAN && d.worst <= WORST &&
                                           d.divergence <= DIVERGENCE));
        printf("| %.1e | %.1e | %.1e | %d of %d | %.4f, %.4f | %s |\n", d.median, d.worst,
               d.divergence, d.same, x.n, perplexity_of(x.ids, x.n, a, x.vocab),
               perplexity_of(x.ids, x.n, b, x.vocab), ok ? "ok" : "MISS");
    } else {
        printf("| %s |\n", e.text);
    }
    fflush(stdout);
    mem_free(a);
    mem_free(b);
    return ok;
}

int main(int argc, char **argv)
{
    int missed = 0;
    log_set_level(LOG_ERROR);
    printf("| model | median token | worst | nats | likeliest | perplexity | |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n");
    for (int i = 1; i < argc; i++)
        missed += !judge(argv[i], false);
    if (argc == 1)
        missed = !judge("models/demo/gated-deltanet", true) + !judge("models/demo/rwkv7", true);
    printf("states: %d missed\n", missed);
    return missed != 0;
}
