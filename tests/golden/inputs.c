/* inputs: what products by inputs of 16 bits move, of whole models in every format they serve.
 *
 *   inputs [--only FORMAT]
 *
 * The matrices of the demo models are made into blocks of one format after the other, as far as
 * its blocks divide their columns. A text of a few hundred tokens is computed by float32 and by
 * inputs of 16 bits; of each token's logits: the root mean square of the differences over that of
 * the logits, the divergence of what would be sampled (nats), whether the likeliest token is the
 * same; and the perplexity of the text. Beside them what the blocks themselves move. Exit 1 where a
 * figure is above its bound, or nothing moves at all. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "kernels/ref/ref_int16.h"
#include "tests/golden/blocks.h"
#include "tests/golden/distance.h"
#include "tests/golden/text.h"

#define SMALL 4096 /* elements; matrices with fewer stay as they are */

/* Bounds: of the median and of the worst token's relative difference; of the mean divergence. */
#define MEDIAN 3.5e-5
#define WORST 2e-4
#define DIVERGENCE 5e-9

static const enum dtype served[] = {
#define ID(X) DTYPE_##X,
    INT16_FORMATS(ID)
#undef ID
};

/* ---- a model whose matrices are made into blocks while it is loaded ---------------------- */

static const struct backend *real; /* of the device that `making` stands before */
static const struct plan *plan;

static int put_blocks(struct device *d, int w, int64_t row0, int64_t n, const void *src,
                      enum dtype type, struct err *e)
{
    const struct weight *x = &plan->weights[w];
    if (format_plain(x->dtype))
        return real->put_weight(d, w, row0, n, src, type, e);
    float *row = mem_array((size_t)x->cols, sizeof *row);
    char *blocks = mem_array(format_bytes(x->dtype, x->cols), 1);
    int rc = row && blocks ? 0 : err_set(e, E_NOMEM, "no memory for a row of blocks");
    for (int64_t i = 0; i < n && !rc; i++) {
        format_decode(type, (const char *)src + (size_t)i * format_bytes(type, x->cols), x->cols,
                      row);
        blocks_encode(x->dtype, row, x->cols, blocks);
        rc = real->put_weight(d, w, row0 + i, 1, blocks, x->dtype, e);
    }
    mem_free(row);
    mem_free(blocks);
    return rc;
}

/* How many matrices of m take the format; 0 of F32: none is asked to. */
static int make_blocks(struct model *m, enum dtype t)
{
    int n = 0;
    for (int32_t i = 0; t != DTYPE_F32 && i < m->plan.n_weights; i++) {
        struct weight *w = &m->plan.weights[i];
        if (w->role == WEIGHT_MATRIX && w->rows * w->cols >= SMALL && format_fits(t, w->cols)) {
            w->dtype = t;
            n++;
        }
    }
    return n;
}

static int step(struct device *d, const struct text *x, float *out, struct err *e)
{
    static int32_t rows[TEXT_TOKENS];
    int32_t cu[2] = {0, x->n}, slot = 0, page = 0;
    int64_t pos = 0;
    const float *row;
    for (int32_t i = 0; i < x->n; i++)
        rows[i] = i;
    struct batch b = {.n_seqs = 1, .n_tokens = x->n, .n_logits = x->n, .tokens = x->ids,
                      .cu_seqlens = cu, .slots = &slot, .pos = &pos, .logit_rows = rows,
                      .pages = &page};
    int rc = real->slot_zero(d, 0, e);
    if (!rc)
        rc = real->run(d, &b, e);
    for (int32_t i = 0; i < x->n && !rc; i++)
        if ((rc = real->logits(d, i, &row, e)) == 0)
            memcpy(out + (size_t)i * (size_t)x->vocab, row, (size_t)x->vocab * sizeof *out);
    return rc;
}

/* Logits [n][vocab] of the text by these kernels, matrices in format t; the caller frees them. NULL
 * with e->code 0: no matrix takes the format. */
static float *run(const char *dir, const char *kernels, enum dtype t, struct text *x, int *matrices,
                  struct err *e)
{
    struct model *m = NULL;
    struct device *d = NULL;
    struct backend making;
    struct model_options mo = {.dir = dir};
    struct device_options dopt = {.spec = "cpu", .kernels = kernels};
    float *out = NULL;
    if (model_open(&m, &mo, e) == 0 && device_open(&d, &dopt, e) == 0 && text_read(m, x, e) == 0) {
        struct capacity cap = {.tokens = x->n, .logits = x->n, .seqs = 1, .slots = 1};
        *matrices = make_blocks(m, t);
        plan = &m->plan;
        making = *(real = d->backend);
        making.put_weight = put_blocks;
        d->backend = &making;
        if (*matrices || t == DTYPE_F32)
            out = mem_array((size_t)x->n * (size_t)x->vocab, sizeof *out);
        if (out && (model_load(m, d, &cap, e) || step(d, x, out, e))) {
            mem_free(out);
            out = NULL;
        }
    }
    if (d)
        d->backend->close(d);
    model_close(m);
    return out;
}

/* ---- the table --------------------------------------------------------------------------- */

static bool judge(const char *dir, enum dtype t, const float *plain, struct text *x)
{
    struct err e = {0};
    int n = 0;
    float *a = run(dir, "float32", t, x, &n, &e);
    float *b = a ? run(dir, "int16,float32", t, x, &n, &e) : NULL;
    bool ok = e.code == 0 && (b || n == 0);
    printf("| %-14s | %-6s | %3d ", strrchr(dir, '/') + 1, dtype_name(t), n);
    if (b) {
        struct distance blocks = distance_of(plain, a, x->n, x->vocab);
        struct distance d = distance_of(a, b, x->n, x->vocab);
        ok = d.median > 0 && d.median <= MEDIAN && d.worst <= WORST && d.divergence <= DIVERGENCE;
        printf("| %.1e | %.1e | %.1e | %.1e | %.1e | %d of %d | %.4f, %.4f | %s |\n", blocks.median,
               blocks.divergence, d.median, d.worst, d.divergence, d.same, x->n,
               perplexity_of(x->ids, x->n, a, x->vocab), perplexity_of(x->ids, x->n, b, x->vocab),
               ok ? "ok" : "MISS");
    } else {
        printf("| %s |\n", e.code ? e.text : ok ? "not wide enough" : "MISS");
    }
    fflush(stdout);
    mem_free(a);
    mem_free(b);
    return ok;
}

static int one_model(const char *dir, const char *only)
{
    struct text x = {.n = 0};
    struct err e = {0};
    int n, missed = 0;
    float *plain = run(dir, "float32", DTYPE_F32, &x, &n, &e);
    if (!plain) {
        printf("MISS: %s: %s\n", dir, e.text);
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(served); i++)
        if (strstr(dtype_name(served[i]), only))
            missed += !judge(dir, served[i], plain, &x);
    mem_free(plain);
    return missed;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"only", required_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    const char *only = "";
    log_set_level(LOG_ERROR);
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c != 'o') {
            fprintf(stderr, "usage: inputs [--only FORMAT]\n");
            return 2;
        }
        only = optarg;
    }
    blocks_prepare();
    printf("| model | blocks | matrices | they move | nats | inputs of 16 bits | worst | nats "
           "| likeliest | perplexity | |\n"
           "| --- | --- | ---: | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    int missed = one_model("models/demo/gated-deltanet", only) +
                 one_model("models/demo/rwkv7", only);
    printf("inputs: %d missed\n", missed);
    return missed != 0;
}
