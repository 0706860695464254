/* Rows of a matrix chosen by hashes of the last tokens. */
#include "kernels/host.h"
#include "kernels/ngram.h"

void ref_ngram(const struct host_step *s, const struct op *op, int ith, int nth)
{
    const struct host_weight *w = &s->weights[op->w[NGRAM_table]];
    const struct ngram *g = op->p.ngram;
    const struct batch *b = s->batch;
    int32_t width = op->out.width / g->heads;
    int64_t from, to;
    host_share(g->heads, ith, nth, &from, &to);
    for (int32_t q = 0; q < b->n_seqs; q++) {
        const int32_t *tokens = b->tokens + b->cu_seqlens[q];
        int32_t n = b->cu_seqlens[q + 1] - b->cu_seqlens[q];
        float *all = host_state(s, op->section, b->slots[q]);
        for (int32_t j = (int32_t)from; j < to; j++) {
            float *kept = all + (int64_t)j * (g->size - 1);
            for (int32_t t = 0; t < n; t++) {
                int64_t row = ngram_row(g, j, tokens, t, kept);
                float *out = host_row(s, op->out, b->cu_seqlens[q] + t) + (int64_t)j * width;
                for (int32_t c = 0; c < width; c++)
                    out[c] = panel_at(w, row, c);
            }
            ngram_keep(g, tokens, n, kept);
        }
    }
}
