/* A matrix, or some of its rows, applied to inputs: what a job is, and what follows a sum. */
#include "kernels/cpu/impl/blocks.h"

/* Inputs handled at once: their ends are on the stack, and this many passes over a group of
 * panels in the second-level cache have long paid for fetching it. */
#define INPUTS 96

/* A matrix, or some rows of one, applied to n inputs. */
struct job {
    const struct host_weight *w;
    int64_t panel0, rows; /* first panel and rows of the part of the matrix */
    const float *bias;    /* [rows] or NULL */
    enum activation act;
    int64_t n;
    const char *then;     /* weights that this thread reads after the job, or NULL */
    size_t then_panel;
};
/* Where input i of the job is, where its result goes, and what is added to it (or NULL). */
struct ends {
    const float *x, *add;
    float *out;
};
/* Panels [p0, p1) of the job. */
typedef void panels_fn(const struct job *job, const struct ends *ends, int64_t p0, int64_t p1);

/* Where memory is read after some columns of some panels in blocks: lines of the first panel, and
 * the way to the next one's. */
struct soon {
    const char *lines; /* NULL: nothing is known */
    size_t step;
};
/* Behind n columns from k of the panels before p. Panels [first, to) pass these columns, then the
 * next ones; all panels up to `end` follow. */
static inline struct soon read_after(const struct job *job, struct quant f, int64_t p,
                                     int64_t first, int64_t to, int64_t end, int64_t k, int64_t n)
{
    const size_t panel = panel_bytes(job->w->dtype, job->w->cols);
    if (p >= to) {
        p = k + n < job->w->cols ? first : to;
        k = k + n < job->w->cols ? k + n : 0;
    }
    if (p >= end)
        return (struct soon){job->then, job->then_panel};
    return (struct soon){(const char *)job->w->data + (size_t)(job->panel0 + p) * panel +
                             k * f.bits / 8 * PANEL, panel};
}

/* Where a row's results are stored one after another, those of so many rows on are fetched. */
#define FINISH_AHEAD 2

/* Bias, activation and residual, then the store, of P panels from panel p of one input. */
static void finish(const struct job *job, const float *sums, int64_t p, int P,
                   const struct ends *e)
{
    for (int64_t r = p * PANEL; P-- > 0 && r < job->rows; r += PANEL, sums += PANEL) {
        int n = (int)MIN(job->rows - r, PANEL);
        v16 y = v16_load(sums);
        if (job->bias)
            y = v16_add(y, v16_load_n(job->bias + r, n));
        y = v16_act(job->act, y);
        if (e->add)
            y = v16_add(y, v16_load_n(e->add + r, n));
        v16_store_n(e->out + r, n, y);
    }
}
