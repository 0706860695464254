/* Ops sorted by level, span by span. */
#include "kernels/cpu/stages.h"

#include "base/mem.h"
#include "kernels/phases.h"

/* Adds n stages of ops [from, from + n_ops), of which at[i] is the stage of the i-th. */
static void append(struct stages *s, const int32_t *at, int32_t from, int32_t n_ops, int32_t n)
{
    int32_t *first = s->first + s->n;
    for (int32_t k = 0; k <= n; k++)
        first[k] = k ? 0 : from;
    for (int32_t i = 0; i < n_ops; i++)
        first[at[i] + 1]++;
    for (int32_t k = 0; k < n; k++)
        first[k + 1] += first[k];
    for (int32_t i = 0; i < n_ops; i++)
        s->ops[first[at[i]]++] = from + i;
    for (int32_t k = n; k > 0; k--) /* each has moved on to the next one's */
        first[k] = first[k - 1];
    first[0] = from;
    s->n += n;
}

static int find(struct stages *out, const struct plan *p, const struct capacity *c, struct err *e)
{
    int32_t at[STAGES_SPAN];
    for (int32_t from = 0; from < p->n_ops; from += STAGES_SPAN) {
        struct plan span = *p;
        int32_t n = 0;
        span.ops += from;
        span.n_ops = MIN(STAGES_SPAN, p->n_ops - from);
        int rc = phases_levels(at, &span, c, e);
        if (rc)
            return rc;
        for (int32_t i = 0; i < span.n_ops; i++)
            n = MAX(n, at[i] + 1);
        append(out, at, from, span.n_ops, n);
    }
    for (int32_t i = 0; i < p->n_ops; i++)
        out->next[out->ops[i]] = out->ops[(i + 1) % p->n_ops];
    return 0;
}

int stages_find(struct stages *out, const struct plan *p, const struct capacity *c, struct err *e)
{
    size_t n = (size_t)p->n_ops + 1;
    *out = (struct stages){mem_array(n, sizeof *out->ops), mem_array(n, sizeof *out->first),
                           mem_array(n, sizeof *out->next), 0};
    int rc = out->ops && out->first && out->next
                 ? find(out, p, c, e)
                 : err_set(e, E_NOMEM, "no memory for the stages of %d ops", p->n_ops);
    if (rc)
        stages_free(out);
    return rc;
}

void stages_free(struct stages *x)
{
    mem_free(x->ops);
    mem_free(x->first);
    mem_free(x->next);
    *x = (struct stages){0};
}
